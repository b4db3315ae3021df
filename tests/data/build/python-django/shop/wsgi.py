application = get_wsgi_application()
