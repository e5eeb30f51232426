/** What a browser sees at the console's address: where it is, and how to deploy to it. */
export function consolePage(url: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Solum</title>
<style>
  :root { color-scheme: light dark; --text: #2e2824; --muted: #6b625c; --ground: #fbfaf8; --line: #e4dfd9 }
  @media (prefers-color-scheme: dark) { :root { --text: #efece8; --muted: #a79f97; --ground: #1d1a18; --line: #3a3531 } }
  body { margin: 12vh auto; max-width: 38rem; padding: 0 1.5rem; font: 16px/1.6 system-ui, sans-serif; color: var(--text); background: var(--ground) }
  h1 { font-size: 1.4rem; margin: 0 }
  p { color: var(--muted) }
  pre { padding: 1rem; border: 1px solid var(--line); border-radius: 6px; overflow-x: auto; font: 14px/1.6 ui-monospace, monospace }
</style>
<h1>Solum is running</h1>
<p>The Cloudflare API is at ${url}/client/v4. In the folder of a Cloudflare project:</p>
<pre>solum wrangler deploy</pre>
<p>Or point your own wrangler here:</p>
<pre>eval "$(solum env)"
npx wrangler deploy</pre>
<p>What runs, and where it answers:</p>
<pre>solum status
solum logs WORKER</pre>
</html>
`;
}
