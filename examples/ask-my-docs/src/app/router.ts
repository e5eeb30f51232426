/** Calls `show` with the path of every page that is gone to, by a link, by `goTo` or by the browser's buttons. */
export function startRouter(show: (path: string) => void): void {
  addEventListener("popstate", () => show(location.pathname));
  addEventListener("routed", () => show(location.pathname));
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link?.target !== "";
    if (link === null || elsewhere || link.origin !== location.origin) return;
    event.preventDefault();
    goTo(link.pathname);
  });
}

export function goTo(path: string, { replace = false } = {}): void {
  if (path !== location.pathname) history[replace ? "replaceState" : "pushState"](null, "", path);
  dispatchEvent(new Event("routed"));
}
