/** Answers probes for versions without an entry module: the process serves, and what runs in it is not counted. */
export default {
  fetch(): Response {
    return Response.json({ inFlight: 0, waitUntil: 0, unsent: 0 });
  },
};
