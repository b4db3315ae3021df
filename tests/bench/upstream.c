/* The function behind the edge and wake figures: a static HTTP/1.1 server that is never the bottleneck. One thread,
 * edge-triggered epoll, 100 bytes of body, pipelining, keep-alive. Listens on 127.0.0.1:$PORT (8080). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { connections_max = 4096, events_max = 256, head_bytes_max = 8192 };

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

struct connection {
  size_t used;
  char head[head_bytes_max];
};
static struct connection* connections[connections_max];

static void end(int fd) {
  free(connections[fd]);
  connections[fd] = NULL;
  close(fd);
}

/* Answers every whole head that is in the buffer; requests with bodies are not for this program. */
static int answer_all(int fd, struct connection* connection) {
  connection->head[connection->used] = '\0';
  char* next = connection->head;
  for (char* blank; (blank = strstr(next, "\r\n\r\n")); next = blank + 4)
    if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) != (ssize_t)(sizeof answer - 1)) return 0;
  connection->used -= (size_t)(next - connection->head);
  memmove(connection->head, next, connection->used);
  return connection->used < head_bytes_max - 1;
}

static void readable(int fd) {
  struct connection* connection = connections[fd];
  for (;;) {
    const size_t room = head_bytes_max - 1 - connection->used;
    const ssize_t got = recv(fd, connection->head + connection->used, room, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return end(fd);
    connection->used += (size_t)got;
    if (!answer_all(fd, connection)) return end(fd);
    if ((size_t)got < room) return;
  }
}

int main(void) {
  const char* port = getenv("PORT");
  const int on = 1, epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port ? port : "8080"))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 1024) != 0) {
    perror("listen");
    return 1;
  }
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[events_max];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    const int count = epoll_wait(epoll, events, events_max, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd != listener) {
        readable(events[i].data.fd);
        continue;
      }
      for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= connections_max || !(connections[fd] = calloc(1, sizeof(struct connection)))) {
          close(fd);
          continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event = (struct epoll_event){.events = EPOLLIN | EPOLLET | EPOLLRDHUP, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
      }
    }
  }
}
