app = Starlette()
