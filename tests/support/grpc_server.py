"""A gRPC server on loopback for the probe's tests: grpc.health.v1.Health as the official servers answer it, or another service
only. Prints its port. Usage: grpc_server.py health|other"""
import sys
import time
from concurrent import futures

import grpc

STATUS = {"": 1, "down": 2, "odd": 7}  # SERVING, NOT_SERVING, one that is not in the protocol yet


def check(request, context):
    service = request[2:].decode() if request else ""
    if service == "slow":
        time.sleep(5)
    if service == "refuses":
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not\x01you")
    if service not in STATUS:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return bytes([8, STATUS[service]])


def main():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    method = grpc.unary_unary_rpc_method_handler(check)
    name = "grpc.health.v1.Health" if sys.argv[1] == "health" else "shop.Orders"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Check": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


main()
