/* The function behind the edge and wake figures: a static HTTP/1.1 server that is never the bottleneck. One thread,
 * edge-triggered epoll, keep-alive, pipelining; 100 bytes of body, 100 KB for "GET /large". Listens on
 * 127.0.0.1:$PORT (8080). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { connections_max = 4096, events_max = 256, head_bytes_max = 8192, large_bytes = 100 << 10 };

struct answer {
  char* bytes;
  size_t size;
};
static struct answer small, large;

struct connection {
  const struct answer* sending; /* NULL: nothing is left to send */
  size_t sent;
  size_t used;
  char head[head_bytes_max];
};
static struct connection* connections[connections_max];

static struct answer make_answer(size_t body) {
  struct answer answer = {malloc(body + 200), 0};
  const int head = sprintf(answer.bytes, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", body);
  memset(answer.bytes + head, 'x', body);
  answer.size = (size_t)head + body;
  return answer;
}

static void end(int fd) {
  free(connections[fd]);
  connections[fd] = NULL;
  close(fd);
}

/* 1: all is sent, 0: the socket is full, -1: broken. */
static int send_rest(int fd, struct connection* connection) {
  while (connection->sending) {
    const struct answer* answer = connection->sending;
    const ssize_t sent = send(fd, answer->bytes + connection->sent, answer->size - connection->sent, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    connection->sent += (size_t)sent;
    if (connection->sent == answer->size) connection->sending = NULL;
  }
  return 1;
}

/* Answers the whole heads that are in the buffer, each when the one before is sent; requests with bodies are not for
 * this program. */
static int answer_all(int fd, struct connection* connection) {
  connection->head[connection->used] = '\0';
  char* next = connection->head;
  int state = send_rest(fd, connection);
  for (char* blank; state == 1 && (blank = strstr(next, "\r\n\r\n")); next = blank + 4) {
    connection->sending = strncmp(next, "GET /large", 10) == 0 ? &large : &small;
    connection->sent = 0;
    state = send_rest(fd, connection);
  }
  connection->used -= (size_t)(next - connection->head);
  memmove(connection->head, next, connection->used);
  return state >= 0 && connection->used < head_bytes_max - 1;
}

static void ready(int fd) {
  struct connection* connection = connections[fd];
  for (;;) {
    const size_t room = head_bytes_max - 1 - connection->used;
    const ssize_t got = recv(fd, connection->head + connection->used, room, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return end(fd);
    if (got > 0) connection->used += (size_t)got;
    if (got > 0 || connection->sending)
      if (!answer_all(fd, connection)) return end(fd);
    if (got < (ssize_t)room) return;
  }
}

static void leave(int number) { _exit(number == SIGTERM ? 0 : 1); }

int main(void) {
  signal(SIGTERM, leave);  // as process 1 it would not even be asked
  const char* port = getenv("PORT");
  const int on = 1, epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port ? port : "8080"))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 1024) != 0) {
    perror("listen");
    return 1;
  }
  small = make_answer(100);
  large = make_answer(large_bytes);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[events_max];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    const int count = epoll_wait(epoll, events, events_max, -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.fd != listener) {
        ready(events[i].data.fd);
        continue;
      }
      for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= connections_max || !(connections[fd] = calloc(1, sizeof(struct connection)))) {
          close(fd);
          continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event = (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
      }
    }
  }
}
