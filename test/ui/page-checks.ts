import type { Page } from "playwright-core";

/** Images that did not load, and a page that is wider than its window. */
export async function brokenLayout(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    const images = [...document.images].filter((image) => image.checkVisibility() && image.naturalWidth === 0);
    return [
      ...images.map((image) => `${image.src} is not an image`),
      ...(scrollWidth > clientWidth ? [`${scrollWidth} pixels in a window of ${clientWidth}`] : []),
    ];
  });
}

/** Texts that have less than 4.5 times the light of their ground, or the other way round (WCAG 2.2, 1.4.3). */
export async function faintTexts(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    if (context === null) throw new Error("This browser has no canvas.");

    /** A canvas turns colours of any notation into bytes, and mixes those that let others through. */
    const luminance = (layers: string[]) => {
      context.clearRect(0, 0, 1, 1);
      for (const layer of layers) {
        context.fillStyle = layer;
        context.fillRect(0, 0, 1, 1);
      }
      const [red = 0, green = 0, blue = 0] = Array.from(context.getImageData(0, 0, 1, 1).data, (byte) => {
        const part = byte / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const grounds = (node: Element | null): string[] =>
      node === null ? ["white"] : [...grounds(node.parentElement), getComputedStyle(node).backgroundColor];
    const hasText = (node: Element) =>
      [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent?.trim() !== "");

    return [...document.querySelectorAll("body *")]
      .filter((node) => hasText(node) && node.checkVisibility() && !node.closest("noscript, .visually-hidden"))
      .flatMap((node) => {
        const under = grounds(node);
        const [text, ground] = [luminance([...under, getComputedStyle(node).color]), luminance(under)];
        const contrast = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
        return contrast < 4.5 ? [`${node.tagName} “${node.textContent}” ${contrast.toFixed(2)}`] : [];
      });
  });
}

/** Goes over the page with the Tab key: whatever gets the focus has to show it and to have a name. Returns what does not. */
export async function unreachableByKeyboard(page: Page): Promise<string[]> {
  const wrong: string[] = [];
  await page.evaluate(() => document.activeElement instanceof HTMLElement && document.activeElement.blur());
  for (let steps = 0; steps < 60; steps++) {
    await page.keyboard.press("Tab");
    const problem = await page.evaluate(() => {
      const focused = document.activeElement;
      if (focused === null || focused === document.body) return null;
      // A hidden file input shows its focus on the label that stands for it.
      const shown = focused.matches(".visually-hidden") ? (focused.nextElementSibling ?? focused) : focused;
      const { outlineStyle, outlineWidth } = getComputedStyle(shown);
      const labels = focused instanceof HTMLInputElement ? [...(focused.labels ?? [])] : [];
      const name = focused.ariaLabel ?? `${focused.textContent}${labels.map((label) => label.textContent).join("")}`;
      const isFine = outlineStyle !== "none" && Number.parseFloat(outlineWidth) >= 2 && name.trim() !== "";
      return isFine ? "" : `${focused.outerHTML.slice(0, 200)}: outline ${outlineStyle} ${outlineWidth}`;
    });
    if (problem === null) return wrong;
    if (problem !== "") wrong.push(problem);
  }
  return wrong;
}
