addEventListener("fetch", (event) => {
  console.log("service worker", WORD);
  event.respondWith(new Response(`${WORD} ${new URL(event.request.url).pathname}`));
});
