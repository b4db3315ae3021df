"""A function without a server: HTTP requests and CloudEvents come as (context, body or event)."""


def handle(context, event):
    if context.cloud_event:
        return {"specversion": "1.0", "type": "demo.greeted", "source": "/function-python", "data": {"greeting": f"hello, {event.data['name']}"}}
    if context.method == "POST":
        return {"youSent": event}
    return f"hello, {context.query.get('name', 'world')}, from a function\n"
