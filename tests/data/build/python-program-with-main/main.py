def main(argv):
    pass


if __name__ == "__main__":
    main([])
