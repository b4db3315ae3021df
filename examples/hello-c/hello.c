/* A static HTTP server that greets. One connection at a time, one request a connection: small enough to read in a minute. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { head_bytes_max = 8192, seconds_to_send_a_request = 5 };

static volatile sig_atomic_t stopping;

static void stop(int signal_number) {
  (void)signal_number;
  stopping = 1;
}

static void write_all(int socket, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t written = send(socket, bytes, size, MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    bytes += written;
    size -= (size_t)written;
  }
}

static void answer(int socket, const char *status, const char *body, int with_body) {
  char head[256];
  int size = snprintf(head, sizeof head,
                      "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                      status, strlen(body));
  write_all(socket, head, (size_t)size);
  if (with_body) write_all(socket, body, strlen(body));
}

/* Reads up to the empty line; 0 when the peer went away, was too slow or sent too much. */
static int read_head(int socket, char *head) {
  size_t used = 0;
  while (used < head_bytes_max) {
    ssize_t got = recv(socket, head + used, head_bytes_max - used, 0);
    if (got < 0 && errno == EINTR && !stopping) continue;
    if (got <= 0) return 0;
    used += (size_t)got;
    head[used] = '\0';
    if (strstr(head, "\r\n\r\n")) return 1;
  }
  return 0;
}

static void serve(int socket, const char *greeting) {
  char head[head_bytes_max + 1] = "";
  if (!read_head(socket, head)) return;
  int is_head = strncmp(head, "HEAD ", 5) == 0;
  if (strncmp(head, "GET ", 4) != 0 && !is_head)
    answer(socket, "405 Method Not Allowed", "GET or HEAD\n", 1);
  else if (strncmp(strchr(head, ' '), " / ", 3) == 0)
    answer(socket, "200 OK", greeting, !is_head);
  else
    answer(socket, "404 Not Found", "not found\n", !is_head);
  /* Wait for the peer to close, so that unread bytes do not turn the answer into a reset. */
  shutdown(socket, SHUT_WR);
  char rest[1024];
  while (recv(socket, rest, sizeof rest, 0) > 0) continue;
}

int main(void) {
  struct sigaction action = {.sa_handler = stop}; /* without SA_RESTART: accept() returns */
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);

  const char *port = getenv("PORT") ? getenv("PORT") : "8080";
  const char *who = getenv("TARGET") ? getenv("TARGET") : "world";
  char greeting[256];
  snprintf(greeting, sizeof greeting, "hello, %.200s, from C\n", who);

  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0) {
    perror("listen");
    return 1;
  }
  printf("listening on port %s\n", port);
  fflush(stdout);

  while (!stopping) {
    int socket = accept(listener, NULL, NULL);
    if (socket < 0) continue;
    struct timeval limit = {.tv_sec = seconds_to_send_a_request};
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    serve(socket, greeting);
    close(socket);
  }
  return 0;
}
