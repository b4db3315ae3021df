import flask
service = flask.Flask(__name__)
