def new():
    return Function()
