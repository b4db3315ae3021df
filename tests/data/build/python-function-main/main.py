def main(context):
    return "hello", 200
