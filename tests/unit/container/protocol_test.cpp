#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <random>

#include "container/protocol.hpp"
#include "container/sealed_memory.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::container;
using namespace wick::container::protocol;
using Catch::Matchers::Contains;

namespace {

InstanceSpec service() {
  InstanceSpec spec;
  spec.id = *InstanceId::parse("0123456789abcdef");
  spec.layers = {Digest::of("a"), Digest::of("b")};
  spec.process.argv = {"/app", "--flag", ""};
  spec.process.environment = {"PORT=8080", "EMPTY="};
  spec.process.working_folder = "/srv";
  spec.process.groups = {7, 8};
  return spec;
}

Fd null_file() { return std::move(*open_file("/dev/null", O_RDWR)); }

std::string message(Verb verb, std::string_view body, std::uint64_t number = 9) {
  const RequestHead head{.verb = static_cast<std::uint16_t>(verb), .request = number};
  return std::string(bytes_of(head)) + std::string(body);
}

Result<Request> parse(Verb verb, std::string_view body, std::vector<Fd> fds = {}) {
  auto received = parse_request(message(verb, body), std::move(fds));
  REQUIRE(received);
  CHECK(received->number == 9);
  return std::move(received->request);
}

/// A prepare message with one thing changed before it is sealed and sent.
Result<Request> prepare_with(const std::function<void(PrepareBody&)>& change, InstanceSpec spec = service()) {
  auto out = encode_prepare(spec, null_file());
  REQUIRE(out);
  auto body = *protocol::value_of<PrepareBody>(out->body);
  change(body);
  return parse(Verb::prepare, bytes_of(body), std::move(out->fds));
}

}  // namespace

TEST_CASE("what the front says about an instance is what the runner hears") {
  auto out = encode_prepare(service(), null_file());
  REQUIRE(out);
  auto request = parse(Verb::prepare, out->body, std::move(out->fds));
  REQUIRE(request);
  const auto& heard = std::get<Prepare>(*request);
  const auto said = service();
  CHECK(heard.spec.id == said.id);
  CHECK(heard.spec.layers == said.layers);
  CHECK(heard.spec.process.argv == said.process.argv);
  CHECK(heard.spec.process.environment == said.process.environment);
  CHECK(heard.spec.process.working_folder == "/srv");
  CHECK(heard.spec.process.groups == said.process.groups);
  CHECK(heard.spec.limits.pids == said.limits.pids);
  CHECK(heard.log);
}

TEST_CASE("a command for an instance comes with its process and its limit, in their bounds") {
  const auto process = service().process;
  const auto id = service().id;
  auto out = encode_execute(id, process, std::chrono::seconds(2));
  REQUIRE(out);
  const auto said = *protocol::value_of<ExecuteBody>(out->body);
  auto request = parse(Verb::execute, out->body, std::move(out->fds));
  REQUIRE(request);
  const auto& heard = std::get<Execute>(*request);
  CHECK(heard.id == id);
  CHECK(heard.process == process);
  CHECK(heard.limit == std::chrono::seconds(2));

  const auto with = [&](const std::function<void(ExecuteBody&)>& change) {
    auto body = said;
    change(body);
    return parse(Verb::execute, bytes_of(body), std::move(encode_execute(id, process, std::chrono::seconds(1))->fds));
  };
  CHECK_FALSE(with([](ExecuteBody& body) { body.limit_ms = 0; }));
  CHECK_FALSE(with([](ExecuteBody& body) { body.limit_ms = 600'001; }));
  CHECK_FALSE(with([](ExecuteBody& body) { body.arguments += 1; }));
  CHECK_FALSE(with([](ExecuteBody& body) { body.arguments = 0; }));
  CHECK_FALSE(with([](ExecuteBody& body) { body.group_count = 33; }));
  CHECK_FALSE(with([](ExecuteBody& body) { body.uid = id_range_size; }));
  CHECK_FALSE(encode_execute(id, {.argv = {"/a"}, .working_folder = "relative"}, std::chrono::seconds(1)));
}

TEST_CASE("files for an instance that runs arrive as they were sent, and stay in their bounds") {
  InstanceSpec spec{.id = InstanceId::random(),
                    .volumes = {{.files = {{"deep/key", 0400, std::string("a\0b", 3)}}}, {.bytes_max = 1 << 20}},
                    .volume_mounts = {{.volume = 0, .target = "/etc/keys"}},
                    .message_path = "/dev/termination-log"};
  const auto send = [](const InstanceSpec& spec) {
    auto out = encode_update_volumes(spec);
    return out ? parse(out->verb, out->body, std::move(out->fds)) : fail(std::move(out.error()));
  };
  const auto heard = send(spec);
  if (!heard) FAIL(heard.error().what());
  CHECK(std::get<UpdateVolumes>(*heard).spec == spec);
  for (const auto* path : {"relative", "/", "/proc/self/fd/1", "/sys", "/a/../proc/1"}) {
    auto wrong = spec;
    wrong.message_path = path;
    CHECK_FALSE(send(wrong));
  }
  spec.volumes[0].files[0].path = "..data";
  CHECK_FALSE(send(spec));
  spec.volumes[0].files[0].path = "deep/../../key";
  CHECK_FALSE(send(spec));
  spec.volumes[0].files[0] = {"key", 0400, std::string(volume_bytes_max + 1, 'x')};
  CHECK_FALSE(send(spec));
  auto cut = seal(std::string(40, '\1'));
  std::vector<Fd> fds;
  fds.push_back(std::move(*cut));
  CHECK_FALSE(parse(Verb::update_volumes, std::string(bytes_of(id_body(spec.id))), std::move(fds)));
}

TEST_CASE("a pod arrives with its network policy and volumes, and what runs in it names it") {
  InstanceSpec pod{.id = *InstanceId::parse("00112233445566ff"), .id_range = 5};
  pod.egress.base = Egress::none;
  pod.volumes = {{.bytes_max = 1 << 20}, {.files = {{"a", 0400, "one"}}}};
  auto out = encode_open_pod(pod);
  REQUIRE(out);
  auto request = parse(Verb::open_pod, out->body, std::move(out->fds));
  REQUIRE(request);
  CHECK(std::get<OpenPod>(*request).spec == pod);

  auto member = service();
  member.pod = pod.id;
  member.volume_mounts = {{.volume = 1, .target = "/data"}};
  auto entering = encode_prepare(member, null_file());
  REQUIRE(entering);
  auto heard = parse(Verb::prepare, entering->body, std::move(entering->fds));
  REQUIRE(heard);
  CHECK(std::get<Prepare>(*heard).spec.pod == pod.id);
  CHECK(std::get<Prepare>(*heard).spec.volume_mounts == member.volume_mounts);
}

TEST_CASE("pods are of services, and what runs in one has no volumes of its own") {
  const InstanceSpec pod{.id = *InstanceId::parse("00112233445566ff"), .id_range = 5};
  auto wrong = pod;
  wrong.id_range = store_id_range;
  CHECK_FALSE(encode_open_pod(wrong));
  wrong.id_range = id_ranges_max;
  CHECK_FALSE(encode_open_pod(wrong));
  wrong = pod;
  wrong.volumes.resize(volumes_max + 1, Volume{.bytes_max = 4096});
  CHECK_FALSE(encode_open_pod(wrong));
  auto body = *protocol::value_of<OpenPodBody>(encode_open_pod(pod)->body);
  body.id_range = store_id_range;
  CHECK_FALSE(parse(Verb::open_pod, bytes_of(body), std::move(encode_open_pod(pod)->fds)));

  auto member = service();
  member.pod = pod.id;
  for (const auto& change : std::initializer_list<std::function<void(InstanceSpec&)>>{
           [](InstanceSpec& spec) { spec.volumes = {{.bytes_max = 4096}}; },
           [](InstanceSpec& spec) { spec.parkable = true; },
           [](InstanceSpec& spec) { spec.init.push_back({.name = "x"}); },
           [](InstanceSpec& spec) { spec.volume_mounts = {{.volume = volumes_max + 1, .target = "/x"}}; }}) {
    auto spec = member;
    change(spec);
    auto out = encode_prepare(spec, null_file());
    if (out) CHECK_FALSE(parse(Verb::prepare, out->body, std::move(out->fds)));
  }
}

TEST_CASE("a head that is not ours ends the connection") {
  CHECK_FALSE(parse_request("", {}));
  CHECK_FALSE(parse_request("x", {}));
  const std::string good = message(Verb::list, "");
  CHECK(parse_request(good, {}));
  CHECK_FALSE(parse_request(good.substr(1), {}));
  for (const std::size_t at : {0U, 3U, 6U}) {  // magic, reserved
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    CHECK_FALSE(parse_request(bad, {}));
  }
  for (const int verb : {0, static_cast<int>(Verb::exit_notice), 99, 65535})
    CHECK_FALSE(parse_request(message(static_cast<Verb>(verb), ""), {}));
}

TEST_CASE("a body of the wrong size or with the wrong descriptors is refused, for every verb") {
  for (int number = static_cast<int>(Verb::prepare); number <= static_cast<int>(Verb::update_volumes); ++number) {
    const auto verb = static_cast<Verb>(number);
    CAPTURE(to_string(verb));
    for (const std::size_t size : {1U, 15U, 17U, 5000U, 60000U}) {
      std::vector<Fd> fds;
      const auto request = parse(verb, std::string(size, '\0'), std::move(fds));
      CHECK_FALSE(request);
    }
    std::vector<Fd> many;
    for (int i = 0; i < 3; ++i) many.push_back(null_file());
    CHECK_FALSE(parse(verb, "", std::move(many)));
  }
}

TEST_CASE("mounts are for steps, and stay in their bounds") {
  const auto with = [](const std::function<void(StepMount&)>& change) {
    InstanceSpec spec = service();
    spec.layers.clear();
    spec.step = spec.id;
    spec.id_range = store_id_range;
    spec.privileges = Privileges::build;
    StepMount mount{.kind = StepMount::Kind::bytes, .target = "/run/secrets/a", .content = std::string("a\0b", 3)};
    change(mount);
    spec.mounts = {mount};
    return prepare_with([](PrepareBody&) {}, spec);
  };
  const auto good = with([](StepMount&) {});
  if (!good) FAIL(good.error().what());
  const auto& mount = std::get<Prepare>(*good).spec.mounts.at(0);
  CHECK(mount.target == "/run/secrets/a");
  CHECK(mount.content == std::string("a\0b", 3));
  CHECK_FALSE(with([](StepMount& m) { m.target = "relative"; }));
  CHECK_FALSE(with([](StepMount& m) { m.target = "/"; }));
  CHECK_FALSE(with([](StepMount& m) { m.target = "/a/../../etc"; }));
  CHECK_FALSE(with([](StepMount& m) { m.source = "../state"; }));
  CHECK_FALSE(with([](StepMount& m) { m.source = "/abs"; }));
  CHECK_FALSE(with([](StepMount& m) { m.uid = id_range_size; }));
  CHECK_FALSE(with([](StepMount& m) { m.mode = 010000; }));
  InstanceSpec spec = service();
  spec.mounts = {StepMount{.target = "/x"}};
  CHECK_FALSE(encode_prepare(spec, null_file()));
}

TEST_CASE("volumes are for services, and stay in their bounds") {
  const auto spec_with = [](const std::function<void(InstanceSpec&)>& change) {
    InstanceSpec spec = service();
    spec.volumes = {{.bytes_max = 1 << 20}, {.files = {{"deep/a", 0400, std::string("a\0b", 3)}, {"empty", 0644, ""}}}};
    spec.volume_mounts = {{.volume = 0, .target = "/data", .sub_path = "x/y", .writable = true},
                          {.volume = 1, .target = "/etc/keys"}};
    change(spec);
    return spec;
  };
  const auto good = prepare_with([](PrepareBody&) {}, spec_with([](InstanceSpec&) {}));
  if (!good) FAIL(good.error().what());
  const auto& heard = std::get<Prepare>(*good).spec;
  CHECK(heard.volumes == spec_with([](InstanceSpec&) {}).volumes);
  CHECK(heard.volume_mounts == spec_with([](InstanceSpec&) {}).volume_mounts);
  CHECK(heard.process.argv == service().process.argv);

  using Change = void (*)(InstanceSpec&);
  const Change changes[] = {
      [](InstanceSpec& s) { s.volume_mounts[0].target = "data"; },
      [](InstanceSpec& s) { s.volume_mounts[0].target = "/"; },
      [](InstanceSpec& s) { s.volume_mounts[0].target = "/proc/1"; },
      [](InstanceSpec& s) { s.volume_mounts[0].target = "/a/../proc"; },
      [](InstanceSpec& s) { s.volume_mounts[0].target = "//proc/1"; },
      [](InstanceSpec& s) { s.volume_mounts[0].sub_path = "../x"; },
      [](InstanceSpec& s) { s.volume_mounts[0].sub_path = "/x"; },
      [](InstanceSpec& s) { s.volume_mounts[0].volume = 2; },
      [](InstanceSpec& s) { s.volume_mounts[1].writable = true; },
      [](InstanceSpec& s) { s.volumes[0].bytes_max = 1; },
      [](InstanceSpec& s) { s.volumes[1].bytes_max = 1 << 20; },
      [](InstanceSpec& s) { s.volumes[1].files[0].path = "a/../../b"; },
      [](InstanceSpec& s) { s.volumes[1].files[0].path = ""; },
      [](InstanceSpec& s) { s.volumes[1].files[0].mode = 04755; },
      [](InstanceSpec& s) { s.volumes.resize(volumes_max + 1, {.bytes_max = 4096}); },
      [](InstanceSpec& s) { s.volumes[1].files.resize(volume_files_max + 1, {"f", 0644, ""}); },
      [](InstanceSpec& s) { s.volumes[1].files[0].content.resize(volume_bytes_max + 1); },
      [](InstanceSpec& s) {
        s.layers.clear();
        s.step = s.id;
        s.id_range = store_id_range;
      },
  };
  for (std::size_t i = 0; i < std::size(changes); ++i) {
    INFO("change " << i);
    CHECK_FALSE(encode_prepare(spec_with(changes[i]), null_file()));
  }
  for (const int cut : {1, 8, 9, 200}) {
    INFO("cut " << cut);
    CHECK_FALSE(prepare_with([cut](PrepareBody& body) { body.volumes -= cut; }, spec_with([](InstanceSpec&) {})));
  }
  CHECK_FALSE(prepare_with([](PrepareBody& body) { body.volumes += 1; }, spec_with([](InstanceSpec&) {})));
  CHECK_FALSE(prepare_with([](PrepareBody& body) { body.volumes = ~0U; }, spec_with([](InstanceSpec&) {})));
}

TEST_CASE("ids are hex digits and nothing else") {
  for (const char* text :
       {"0123456789abcde/", "../../../../../..", "0123456789ABCDEF", "0123456789abcde\0", "                "}) {
    IdBody body;
    std::memcpy(body.id, text, sizeof body.id);
    CHECK_FALSE(parse(Verb::start, bytes_of(body)));
    CHECK_FALSE(parse(Verb::remove, bytes_of(body)));
    CHECK_FALSE(parse(Verb::discard_step, bytes_of(body)));
    OpenStepBody step;
    std::memcpy(step.id, text, sizeof step.id);
    CHECK_FALSE(parse(Verb::open_step, bytes_of(step)));
  }
  CHECK(parse(Verb::start, bytes_of(id_body(service().id))));
}

TEST_CASE("numbers of a prepare stay in their bounds") {
  CHECK(prepare_with([](PrepareBody&) {}));
  const std::vector<std::function<void(PrepareBody&)>> changes{
      [](PrepareBody& b) { b.id[3] = '/'; },
      [](PrepareBody& b) { b.id_range = id_ranges_max; },
      [](PrepareBody& b) { b.id_range = store_id_range; },
      [](PrepareBody& b) { b.uid = 0; },
      [](PrepareBody& b) { b.uid = id_range_size; },
      [](PrepareBody& b) { b.gid = 0xffffffff; },
      [](PrepareBody& b) { b.group_count = groups_max + 1; },
      [](PrepareBody& b) { b.groups[0] = id_range_size; },
      [](PrepareBody& b) { b.memory_bytes = 4096; },
      [](PrepareBody& b) { b.memory_bytes = ~0ULL; },
      [](PrepareBody& b) { b.cpu_millis = 9; },
      [](PrepareBody& b) { b.pids = 0; },
      [](PrepareBody& b) { b.pids = pids_max + 1; },
      [](PrepareBody& b) { b.egress.base = 3; },
      [](PrepareBody& b) { b.egress.count = EgressPolicy::allow_max + 1; },
      [](PrepareBody& b) { b.egress.count = 1, b.egress.allow[0].prefix = 33; },
      [](PrepareBody& b) { b.egress.count = 1, b.egress.allow[0].reserved = 1; },
      [](PrepareBody& b) { b.privileges = 1; },
      [](PrepareBody& b) { b.privileges = 77; },
      [](PrepareBody& b) { b.allow_root = 2; },
      [](PrepareBody& b) { b.parkable = 2; },
      [](PrepareBody& b) { b.reserved = 1; },
      [](PrepareBody& b) { b.layers.count = 0; },
      [](PrepareBody& b) { b.layers.count = layers_max + 1; },
      [](PrepareBody& b) { b.layers.count = 3; },  // the third digest is empty
      [](PrepareBody& b) { b.arguments = 0; },
      [](PrepareBody& b) { b.arguments = 0xffffffff; },
      [](PrepareBody& b) { b.environment += 1; },
      [](PrepareBody& b) { b.environment = 0xffffffff; },
      [](PrepareBody& b) { std::memset(b.step, 'a', sizeof b.step); },  // layers and a step
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    CAPTURE(i);
    CHECK_FALSE(prepare_with(changes[i]));
  }
}

TEST_CASE("a process comes only in a memfd that nobody can change") {
  auto out = encode_prepare(service(), null_file());
  REQUIRE(out);
  const auto send = [&](Fd memory) {
    std::vector<Fd> fds;
    fds.push_back(std::move(memory));
    fds.push_back(null_file());
    return parse(Verb::prepare, out->body, std::move(fds));
  };
  const auto strings = read_sealed(out->fds[0], process_bytes_max);
  REQUIRE(strings);
  CHECK_FALSE(send(null_file()));
  CHECK_FALSE(send(Fd()));
  for (const int seals : {0, F_SEAL_WRITE, F_SEAL_WRITE | F_SEAL_GROW, F_SEAL_GROW | F_SEAL_SHRINK}) {
    Fd memory(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    REQUIRE(write_all(memory.get(), *strings));
    REQUIRE(::fcntl(memory.get(), F_ADD_SEALS, seals) == 0);
    CHECK_FALSE(send(std::move(memory)));
  }
  CHECK(send(std::move(*seal(*strings))));
  CHECK_FALSE(send(std::move(*seal(strings->substr(0, strings->size() - 1)))));  // no last NUL
  CHECK_FALSE(send(std::move(*seal(*strings + std::string("more\0", 5)))));      // one string too many
  CHECK_FALSE(send(std::move(*seal(""))));
  CHECK_FALSE(send(std::move(*seal(std::string(process_bytes_max + 1, '\0')))));
}

TEST_CASE("a process that makes no sense is refused on both sides") {
  const std::vector<std::function<void(InstanceSpec&)>> changes{
      [](InstanceSpec& s) { s.process.argv.clear(); },
      [](InstanceSpec& s) { s.process.argv[0] = ""; },
      [](InstanceSpec& s) { s.process.argv[1] = std::string("a\0b", 3); },
      [](InstanceSpec& s) { s.process.environment = {"NOVALUE"}; },
      [](InstanceSpec& s) { s.process.environment = {"=x"}; },
      [](InstanceSpec& s) { s.process.working_folder = "relative"; },
      [](InstanceSpec& s) { s.process.working_folder = "/a/../../b"; },
      [](InstanceSpec& s) { s.process.working_folder = ""; },
      [](InstanceSpec& s) { s.process.uid = 0; },
      [](InstanceSpec& s) { s.egress.allow.resize(EgressPolicy::allow_max + 1); },
      [](InstanceSpec& s) { s.layers.assign(layers_max + 1, Digest::of("x")); },
      [](InstanceSpec& s) { s.process.argv.assign(process_strings_max, "x"); },
      [](InstanceSpec& s) { s.process.environment = {"BIG=" + std::string(process_bytes_max, 'x')}; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    CAPTURE(i);
    auto spec = service();
    changes[i](spec);
    CHECK_FALSE(encode_prepare(spec, null_file()));
  }
}

TEST_CASE("ports, signals and suites have bounds") {
  const auto number = [](std::int64_t value) {
    NumberBody body;
    std::ranges::copy(service().id.text(), body.id);
    body.number = value;
    return std::string(bytes_of(body));
  };
  const auto connect = [](std::uint32_t port, std::uint32_t count) {
    ConnectBody body{.port = port, .count = count};
    std::ranges::copy(service().id.text(), body.id);
    return std::string(bytes_of(body));
  };
  for (const std::uint32_t port : {0u, 65536u, 1u << 31}) CHECK_FALSE(parse(Verb::connect, connect(port, 1)));
  for (const std::uint32_t count : {0u, 33u, 1u << 31}) CHECK_FALSE(parse(Verb::connect, connect(8080, count)));
  CHECK(parse(Verb::connect, connect(65535, 32)));
  for (const std::int64_t signal : {0, -9, 65}) CHECK_FALSE(parse(Verb::signal, number(signal)));
  CHECK(parse(Verb::signal, number(15)));
  const auto suite = [](std::string_view text) {
    BootstrapBody body;
    body.suite.length = static_cast<std::uint32_t>(text.size());
    std::ranges::copy(text, body.suite.bytes);
    std::vector<Fd> fds;
    fds.push_back(null_file());
    return parse(Verb::bootstrap, bytes_of(body), std::move(fds));
  };
  CHECK(suite("bookworm"));
  for (const std::string_view bad : {"", "--help", "a b", "../x", "Bookworm"}) CHECK_FALSE(suite(bad));
}

TEST_CASE("random bytes never become a request with an effect outside the bounds") {
  std::mt19937 random(4711);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = message(static_cast<Verb>(1 + random() % 21), "");
    const std::size_t sizes[] = {0, 16, 24, 32, 48, sizeof(PrepareBody), sizeof(PackBody), sizeof(OpenStepBody)};
    const std::size_t size = sizes[random() % std::size(sizes)];
    for (std::size_t i = 0; i < size; ++i)
      bytes += static_cast<char>(random() % 4 == 0 ? random() : '0' + random() % 10);
    (void)parse_request(bytes, {});
  }
}

TEST_CASE("errors keep their kind, sentence and hint across the socket") {
  const Error error = Error(Errc::denied, "no").within("instance x").hint("do that");
  const auto back = decode_error(static_cast<std::uint16_t>(Errc::denied) + 1, encode_error(error));
  CHECK(back.code() == Errc::denied);
  CHECK(back.what() == "instance x: no");
  CHECK(back.hint() == "do that");
  CHECK(decode_error(9999, "x").code() == Errc::internal);
}
