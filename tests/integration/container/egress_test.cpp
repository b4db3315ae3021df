// What an instance reaches, tried from inside: a network namespace plays the world, with a public, a private and a
// metadata address, and a link to the host.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "namespaces.hpp"
#include "netlink.hpp"
#include "networks.hpp"
#include "runner_fixture.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::testing;
using Catch::Matchers::Contains;
using namespace std::chrono_literals;

namespace {

void sh(const std::string& command) {
  INFO(command);
  REQUIRE(std::system(command.c_str()) == 0);
}

/// Public (of a range that nobody routes here), private and metadata addresses behind one link; the host's own end of
/// it is 11.N.0.1. Something listens on port 7000 of each and answers "reached".
class World {
 public:
  World() : number_(static_cast<int>(std::random_device()() % 250) + 1), name_(fmt::format("wickworld{}", number_)) {
    sh(fmt::format("ip netns add {}", name_));
    sh(fmt::format("ip link add {0} type veth peer name eth0 netns {0}", name_));
    sh(fmt::format("ip addr add {}/24 dev {}; ip link set {} up", host(), name_, name_));
    sh(
        fmt::format("ip -n {0} addr add {1}/24 dev eth0; ip -n {0} link set eth0 up; ip -n {0} link set lo up; "
                    "ip -n {0} route add default via {2}",
                    name_, address(), host()));
    for (const auto& other : {metadata(), private_address()})
      sh(fmt::format("ip -n {0} addr add {1}/32 dev eth0; ip route add {1}/32 via {2}", name_, other, address()));
    listeners_.emplace_back(name_, "0.0.0.0");
    listeners_.emplace_back("", host());
  }
  ~World() {
    listeners_.clear();
    (void)std::system(fmt::format("ip link del {0}; ip netns del {0}", name_).c_str());
  }
  std::string address() const { return fmt::format("11.{}.0.2", number_); }
  std::string host() const { return fmt::format("11.{}.0.1", number_); }
  std::string private_address() const { return fmt::format("10.213.{}.9", number_); }
  /// Not 169.254.169.254 itself: the machine that tests may have one.
  std::string metadata() const { return fmt::format("169.254.{}.254", number_); }

 private:
  /// Answers "reached" on port 7000, in a namespace by name or in ours.
  class Listener {
   public:
    Listener(const std::string& name_space, const std::string& address) {
      std::thread([&] {  // a thread of its own may change its namespace and never come back
        if (!name_space.empty()) {
          auto target = value_of(open_file("/run/netns/" + name_space, O_RDONLY));
          REQUIRE(::setns(target.get(), CLONE_NEWNET) == 0);
        }
        socket_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_port = htons(7000);
        ::inet_pton(AF_INET, address.c_str(), &at.sin_addr);
        REQUIRE(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
        REQUIRE(::listen(socket_.get(), 64) == 0);
      })
          .join();
      answering_ = std::thread([fd = socket_.get()] {
        while (true) {
          const Fd peer(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC));
          if (!peer) return;
          (void)!::write(peer.get(), "reached\n", 8);
        }
      });
    }
    ~Listener() {
      ::shutdown(socket_.get(), SHUT_RDWR);
      answering_.join();
    }

   private:
    Fd socket_;
    std::thread answering_;
  };

  int number_;
  std::string name_;
  std::deque<Listener> listeners_;
};

/// "public private metadata host" for what was reached, in that order.
std::string reached(RunnerFixture& f, const World& world, std::string_view policy, int port = 7000) {
  std::string script;
  for (const auto& [name, address] : {std::pair{"public", world.address()},
                                      {"private", world.private_address()},
                                      {"metadata", world.metadata()},
                                      {"host", world.host()}})
    script +=
        fmt::format("timeout 3 nc {} {} < /dev/null 2>/dev/null | grep -q reached && echo {}\n", address, port, name);
  auto spec = f.spec({"/bin/sh", "-c", script + "true"});
  spec.egress = value_of(parse_egress(policy));
  f.run_to_exit(spec);
  auto log = f.log_of(spec.id);
  std::ranges::replace(log, '\n', ' ');
  return log;
}

/// Takes the next connection of an instance.
void answer_one(RunnerFixture& f, const Fd& listener, std::string_view answer) {
  const auto until = std::chrono::steady_clock::now() + 10s;
  Fd peer;
  while (!peer && std::chrono::steady_clock::now() < until) {
    f.loop().restart();
    f.loop().run_one_for(20ms);
    peer = Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  REQUIRE(peer);
  value_of(write_all(peer.get(), answer));
}

}  // namespace

TEST_CASE("by default an instance reaches public addresses: no private one, no metadata, no address of the host") {
  World world;
  RunnerFixture f;
  CHECK(reached(f, world, "internet") == "public ");
  CHECK(reached(f, world, "none").empty());
  CHECK(reached(f, world, "open") == "public private metadata host ");
  // The link that was open belongs to the next one, which is not.
  CHECK(reached(f, world, "internet") == "public ");
}

TEST_CASE("an allow-list opens what it names, and a link that had one has none for the next instance") {
  World world;
  RunnerFixture f;
  CHECK(reached(f, world, world.private_address()) == "private ");
  CHECK(reached(f, world, world.private_address() + ":7001").empty());
  CHECK(reached(f, world, world.private_address() + ":7000," + world.host()) == "private host ");
  CHECK(reached(f, world, "internet," + world.private_address() + ":7000") == "public private ");
  CHECK(reached(f, world, "0.0.0.0/0:7000") == "public private metadata host ");
  CHECK(reached(f, world, "internet") == "public ");
}

TEST_CASE("instances do not reach each other, nor what listens on the host's loopback") {
  RunnerFixture f;
  auto server =
      f.spec({"/bin/sh", "-c",
              "echo at $(ip -4 addr show eth0 | grep -o '100.127.[0-9.]*'); exec nc -ll -p 8080 -e /bin/echo reached"});
  f.launch(server);
  std::string address;
  for (int looks = 0; looks < 200 && address.empty(); ++looks) {
    f.loop().restart();
    f.loop().run_one_for(20ms);
    const auto log = f.log_of(server.id);
    if (log.starts_with("at ") && log.ends_with('\n')) address = log.substr(3, log.size() - 4);
  }
  REQUIRE(address.starts_with("100.127."));
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  socklen_t size = sizeof at;
  REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
  REQUIRE(::listen(listener.get(), 8) == 0);

  for (const char* policy : {"internet", "open"}) {
    auto spec =
        f.spec({"/bin/sh", "-c",
                fmt::format("timeout 2 nc {0} 8080 < /dev/null && echo REACHED; timeout 2 nc 127.0.0.1 {1} && echo "
                            "REACHED; timeout 2 nc 169.254.1.1 {1} && echo REACHED; echo tried",
                            address, ntohs(at.sin_port))});
    spec.egress = value_of(parse_egress(policy));
    f.run_to_exit(spec);
    CHECK_THAT(f.log_of(spec.id), Contains("tried") && !Contains("REACHED") && !Contains("reached"));
  }
}

TEST_CASE("the gateway is at port 80 of its address, beside an instance that listens on port 80 of every address") {
  RunnerFixture f;
  auto spec = f.spec({"/bin/sh", "-c",
                      "nc -ll -p 80 -e /bin/echo own & timeout 5 sh -c 'until nc 127.0.0.1 80 </dev/null 2>/dev/null; "
                      "do :; done'; timeout 5 nc "
                      "127.0.0.80 80 < /dev/null; echo done"});
  f.launch(spec);
  auto found = f.insides.find(spec.id);
  REQUIRE(found != f.insides.end());
  answer_one(f, found->second.http, "gateway\n");
  f.wait_exit(spec.id);
  CHECK(f.log_of(spec.id) == "own\ngateway\ndone\n");
  value_of(f.run(f.runner().remove(spec.id)));
}

TEST_CASE("an instance that calls while one front has gone and the next is not there yet is answered by the next") {
  RunnerFixture f;
  auto spec = f.spec({"/bin/sh", "-c", "nc 127.0.0.80 80 < /dev/null; echo ended $?"});
  const auto prepared = value_of(f.run(f.runner().prepare(spec, f.open_log(spec.id))));
  REQUIRE(f.insides.contains(spec.id));
  f.insides.clear();
  value_of(f.run(f.runner().start(spec.id)));
  const auto waits = [&] {
    const auto sockets = value_of(read_file(fmt::format("/proc/{}/net/tcp", prepared.pid)));
    return sockets.find("5000007F:0050 01") != std::string::npos;  // 127.0.0.80:80, established
  };
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (!waits() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  CHECK(waits());
  const bool with_its_runner = GENERATE(false, true);
  if (with_its_runner) f.hand_over_runner();
  value_of(f.run(f.runner().listen_inside(spec.id)));
  const auto found = f.insides.find(spec.id);
  REQUIRE(found != f.insides.end());
  answer_one(f, found->second.http, "the next\n");
  f.wait_exit(spec.id);
  CHECK(f.log_of(spec.id) == "the next\nended 0\n");
  value_of(f.run(f.runner().remove(spec.id)));
}

TEST_CASE("networks are used again, and go with the runner") {
  RunnerFixture f;
  const auto address_of = [&] {
    auto spec = f.spec({"/bin/sh", "-c", "ip -4 addr show eth0 | grep -o '100.127.[0-9.]*'"});
    f.run_to_exit(spec);
    return f.log_of(spec.id);
  };
  std::map<std::string, int> seen;
  for (int i = 0; i < 12; ++i) ++seen[address_of()];
  CHECK(seen.size() < 12);
  CHECK(seen.size() <= Networks::spares_wanted + 3);
  std::vector<std::string> links;
  for (const auto& [address, count] : seen) {
    unsigned high = 0;
    unsigned low = 0;
    REQUIRE(std::sscanf(address.c_str(), "100.127.%u.%u", &high, &low) == 2);
    links.push_back(fmt::format("wick{}", high * 256 + low));
  }
  f.stop_runner();
  const auto until = std::chrono::steady_clock::now() + 20s;  // the kernel takes them down in its own time
  const auto left = [&] {
    return std::ranges::any_of(links, [](const auto& link) { return ::if_nametoindex(link.c_str()) != 0; });
  };
  while (left() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  CHECK_FALSE(left());
  f.start_runner();
}
