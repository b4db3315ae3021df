// A function without a server: HTTP requests and CloudEvents come as (context, body or event).
exports.handle = async (context, event) => {
  if (context.cloudevent) return context.cloudEventResponse({ greeting: `hello, ${event.data.name}` }).type('demo.greeted').response();
  if (context.method === 'POST') return { youSent: event };
  return { body: `hello, ${context.query.name || 'world'}, from a function\n`, headers: { 'content-type': 'text/plain' } };
};
