#include "wick/container/name_server.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <map>
#include <random>

#include "dns_message.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"

namespace wick::container {

namespace ip = asio::ip;

namespace {

constexpr std::size_t questions_max = 64;   // under way for one instance
constexpr std::size_t connections_max = 8;  // for one instance
constexpr std::size_t servers_max = 3;      // resolv.conf(5)
constexpr std::size_t hosts_bytes_max = 1 << 20;
constexpr auto connection_limit = 10s;
constexpr auto keep_settings = 5s;
constexpr std::string_view cluster_suffix = ".svc.cluster.local";

bool is_or_ends_with(std::string_view name, std::string_view domain) {
  return name == domain ||
         (name.size() > domain.size() && name.ends_with(domain) && name[name.size() - domain.size() - 1] == '.');
}

/// The host that "hello" or "hello.default" before the suffix names; empty when it cannot be one.
std::string service_host(std::string_view name, std::string_view name_space) {
  if (!name.ends_with(cluster_suffix)) return {};
  const auto labels = name.substr(0, name.size() - cluster_suffix.size());
  const auto dots = std::ranges::count(labels, '.');
  if (dots == 0 && !name_space.empty()) return fmt::format("{}.{}{}", labels, name_space, cluster_suffix);
  return dots == 1 ? std::string(name) : std::string();
}

std::string bytes_of(const ip::address& address) {
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    return {bytes.begin(), bytes.end()};
  }
  const auto bytes = address.to_v6().to_bytes();
  return {bytes.begin(), bytes.end()};
}

struct Settings {
  std::vector<ip::address> servers;
  std::multimap<std::string, ip::address, std::less<>> hosts;
};

Settings read_settings(const NameServer::Options& options) {
  Settings settings;
  const auto words_of = [](std::string line) {
    line = line.substr(0, line.find('#'));
    std::ranges::replace(line, '\t', ' ');
    std::vector<std::string> words;
    for (const auto word : split(line, ' '))
      if (!trim(word).empty()) words.emplace_back(trim(word));
    return words;
  };
  boost::system::error_code error;
  const auto resolv_conf = read_file(options.resolv_conf, hosts_bytes_max).value_or("");
  for (const auto line : split(resolv_conf, '\n')) {
    const auto words = words_of(std::string(line));
    if (words.size() < 2 || words[0] != "nameserver" || settings.servers.size() >= servers_max) continue;
    if (const auto address = ip::make_address(words[1], error); !error) settings.servers.push_back(address);
  }
  const auto hosts = read_file(options.hosts, hosts_bytes_max).value_or("");
  for (const auto line : split(hosts, '\n')) {
    const auto words = words_of(std::string(line));
    if (words.size() < 2) continue;
    const auto address = ip::make_address(words[0], error);
    // What the host calls itself leads to its loopback, which is not the instance's.
    if (error || address.is_loopback()) continue;
    for (std::size_t i = 1; i < words.size(); ++i) settings.hosts.emplace(to_lower(words[i]), address);
  }
  return settings;
}

awaitable<Result<std::string>> ask_by_udp(Executor executor, ip::udp::endpoint server, std::string query,
                                          dns::Question question) {
  ip::udp::socket socket(executor);
  boost::system::error_code error;
  socket.open(server.protocol(), error);
  if (!error) socket.connect(server, error);  // a fresh port for each question: guessing it is half of a forgery
  if (error) co_return fail(Errc::unavailable, error.message());
  const auto id = static_cast<std::uint16_t>(std::random_device()());
  query = dns::with_id(query, id);
  auto sent = co_await socket.async_send(asio::buffer(query), asio::as_tuple(use_awaitable));
  if (std::get<0>(sent)) co_return fail(Errc::unavailable, std::get<0>(sent).message());
  std::string reply(dns::udp_bytes_max, '\0');
  while (true) {
    auto got = co_await socket.async_receive(asio::buffer(reply), asio::as_tuple(use_awaitable));
    auto& [failed, bytes] = got;
    if (failed) co_return fail(Errc::unavailable, failed.message());
    const auto message = std::string_view(reply).substr(0, bytes);
    if (message.size() < 2 || !message.starts_with(std::string_view(query).substr(0, 2))) continue;
    if (!dns::answers(message, question)) continue;
    co_return dns::with_id(message, question.id);
  }
}

awaitable<Result<std::string>> read_framed(ip::tcp::socket& socket) {
  std::array<unsigned char, 2> length{};
  auto head = co_await asio::async_read(socket, asio::buffer(length), asio::as_tuple(use_awaitable));
  if (std::get<0>(head)) co_return fail(Errc::unavailable, std::get<0>(head).message());
  std::string message(static_cast<std::size_t>(length[0] << 8 | length[1]), '\0');
  auto body = co_await asio::async_read(socket, asio::buffer(message), asio::as_tuple(use_awaitable));
  if (std::get<0>(body)) co_return fail(Errc::unavailable, std::get<0>(body).message());
  co_return message;
}

awaitable<Result<void>> write_framed(ip::tcp::socket& socket, std::string_view message) {
  std::string framed{static_cast<char>(message.size() >> 8), static_cast<char>(message.size())};
  framed += message;
  auto written = co_await asio::async_write(socket, asio::buffer(framed), asio::as_tuple(use_awaitable));
  if (std::get<0>(written)) co_return fail(Errc::unavailable, std::get<0>(written).message());
  co_return Result<void>{};
}

awaitable<Result<std::string>> ask_by_tcp(Executor executor, ip::tcp::endpoint server, std::string query,
                                          dns::Question question) {
  ip::tcp::socket socket(executor);
  auto connected = co_await socket.async_connect(server, asio::as_tuple(use_awaitable));
  if (std::get<0>(connected)) co_return fail(Errc::unavailable, std::get<0>(connected).message());
  auto sent = co_await write_framed(socket, query);
  if (!sent) co_return fail(std::move(sent.error()));
  auto reply = co_await read_framed(socket);
  if (reply && !dns::answers(*reply, question)) co_return fail(Errc::corrupt, "an answer to another question");
  co_return reply;
}

}  // namespace

class NameServer::Impl {
 public:
  Impl(Executor executor, Clock& clock, Knows knows, Options options)
      : executor_(executor), clock_(clock), knows_(std::move(knows)), options_(std::move(options)) {}

  enum class Transport { udp, tcp };

  /// Always an answer, but for what is no question.
  awaitable<std::optional<std::string>> answer(std::string query, Caller caller, Transport transport) {
    auto question = dns::parse_question(query);
    if (!question) co_return std::nullopt;
    if (auto own = answer_here(query, *question, caller)) co_return own;
    if (!caller.may_ask_outside) co_return dns::answer(query, *question, dns::Code::refused);
    auto servers = settings().servers;
    for (const auto& server : servers) {
      auto reply = co_await ask(server, query, *question, transport);
      if (reply) co_return std::move(*reply);
    }
    co_return dns::answer(query, *question, dns::Code::server_failure);
  }

  Executor executor() const { return executor_; }
  Clock& clock() const { return clock_; }

 private:
  const Settings& settings() {
    const auto now = std::chrono::steady_clock::now();
    if (!read_at_ || now - *read_at_ > keep_settings) {
      settings_ = read_settings(options_);
      read_at_ = now;
    }
    return settings_;
  }

  std::optional<std::string> answer_here(std::string_view query, const dns::Question& question, const Caller& caller) {
    const std::string_view name = question.name;
    const auto with = [&](const std::vector<ip::address>& addresses) {
      std::vector<std::string> bytes;
      for (const auto& address : addresses) {
        const std::uint16_t type = address.is_v4() ? dns::type_a : dns::type_aaaa;
        if (question.klass == dns::class_in && (question.type == type || question.type == dns::type_any) &&
            bytes.size() < 16)
          bytes.push_back(bytes_of(address));
      }
      return dns::answer(query, question, dns::Code::ok, bytes);
    };
    if (is_or_ends_with(name, "localhost")) return with({ip::address_v4::loopback(), ip::address_v6::loopback()});
    if (is_or_ends_with(name, "cluster.local")) {
      const auto host = service_host(name, caller.name_space);
      if (!host.empty() && !caller.name_space.empty() && knows_ && knows_(host))
        return with({ip::address_v4(inside_gateway)});
      return dns::answer(query, question, dns::Code::no_such_name);
    }
    if (!caller.may_ask_outside) return std::nullopt;
    const auto [first, last] = settings().hosts.equal_range(name);
    if (first == last) return std::nullopt;
    std::vector<ip::address> addresses;
    for (auto entry = first; entry != last; ++entry) addresses.push_back(entry->second);
    return with(addresses);
  }

  awaitable<Result<std::string>> ask(ip::address server, const std::string& query, const dns::Question& question,
                                     Transport transport) {
    try {
      if (transport == Transport::tcp) {
        auto asking = ask_by_tcp(executor_, {server, options_.upstream_port}, query, question);
        co_return co_await with_deadline(clock_, options_.upstream_limit, std::move(asking));
      }
      auto asking = ask_by_udp(executor_, {server, options_.upstream_port}, query, question);
      co_return co_await with_deadline(clock_, options_.upstream_limit, std::move(asking));
    } catch (const DeadlineExceeded&) {
      co_return fail(Errc::timed_out, "no answer");
    }
  }

  Executor executor_;
  Clock& clock_;
  Knows knows_;
  Options options_;
  Settings settings_;
  std::optional<std::chrono::steady_clock::time_point> read_at_;
};

namespace {

/// Holds the socket for the questions that are under way when the loop ends.
struct Datagrams {
  Datagrams(Executor executor, Fd fd) : socket(executor, ip::udp::v4(), fd.release()) {}
  ip::udp::socket socket;
};

}  // namespace

NameServer::NameServer(Executor executor, Clock& clock, Knows knows, Options options)
    : impl_(std::make_unique<Impl>(executor, clock, std::move(knows), std::move(options))) {}
NameServer::~NameServer() = default;

awaitable<void> NameServer::serve_udp(Fd fd, Caller caller) {
  Datagrams datagrams(impl_->executor(), std::move(fd));
  TaskGroup questions(impl_->executor());
  auto reply = [](Impl& impl, Datagrams& to, std::string query, Caller who, ip::udp::endpoint from) -> awaitable<void> {
    auto answered = co_await impl.answer(std::move(query), std::move(who), Impl::Transport::udp);
    if (answered) co_await to.socket.async_send_to(asio::buffer(*answered), from, asio::as_tuple(use_awaitable));
  };
  std::string query(dns::udp_bytes_max, '\0');
  std::exception_ptr error;
  try {
    while (true) {
      ip::udp::endpoint from;
      auto got = co_await datagrams.socket.async_receive_from(asio::buffer(query), from, asio::as_tuple(use_awaitable));
      auto& [failed, bytes] = got;
      if (failed == asio::error::operation_aborted) break;
      if (failed || questions.size() >= questions_max) continue;
      questions.spawn("dns question", reply(*impl_, datagrams, query.substr(0, bytes), caller, from));
    }
  } catch (...) {
    error = std::current_exception();
  }
  co_await asio::this_coro::reset_cancellation_state();
  co_await questions.stop();
  if (error) std::rethrow_exception(error);
}

awaitable<void> NameServer::serve_tcp(Fd fd, Caller caller) {
  ip::tcp::acceptor listener(impl_->executor(), ip::tcp::v4(), fd.release());
  TaskGroup connections(impl_->executor());
  auto answer = [](Impl& impl, ip::tcp::socket socket, Caller who) -> awaitable<void> {
    auto conversation = [](Impl& server, ip::tcp::socket& with, Caller caller) -> awaitable<void> {
      while (true) {
        auto query = co_await read_framed(with);
        if (!query) co_return;
        auto answered = co_await server.answer(std::move(*query), caller, Impl::Transport::tcp);
        if (!answered) co_return;
        auto written = co_await write_framed(with, *answered);
        if (!written) co_return;
      }
    };
    try {
      auto talking = conversation(impl, socket, std::move(who));
      co_await with_deadline(impl.clock(), connection_limit, std::move(talking));
    } catch (const DeadlineExceeded&) {
    }
  };
  std::exception_ptr error;
  try {
    while (true) {
      auto accepted = co_await listener.async_accept(asio::as_tuple(use_awaitable));
      auto& [failed, socket] = accepted;
      if (failed == asio::error::operation_aborted) break;
      if (failed || connections.size() >= connections_max) continue;
      connections.spawn("dns connection", answer(*impl_, std::move(socket), caller));
    }
  } catch (...) {
    error = std::current_exception();
  }
  co_await asio::this_coro::reset_cancellation_state();
  co_await connections.stop();
  if (error) std::rethrow_exception(error);
}

}  // namespace wick::container
