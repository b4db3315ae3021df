def handle(context, event):
    return {"hello": event}
