#include "runner_fixture.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstring>

#include "wick/os/seqpacket.hpp"

namespace wick::container::testing {

using namespace std::chrono_literals;

namespace fs = std::filesystem;

// --- tar

void Tar::entry(const std::string& path, char type, unsigned mode, unsigned owner, const std::string& link,
                const std::string& bytes) {
  std::array<char, 512> head{};
  const auto put = [&head](std::size_t at, std::string_view text) {
    std::ranges::copy(text, head.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(0, path);
  put(100, fmt::format("{:07o}", mode));
  put(108, fmt::format("{:07o}", owner));
  put(116, fmt::format("{:07o}", owner));
  put(124, fmt::format("{:011o}", bytes.size()));
  put(136, fmt::format("{:011o}", 1700000000));
  head[156] = type;
  put(157, link);
  put(257, std::string_view("ustar\00000", 8));
  put(148, "        ");
  unsigned sum = 0;
  for (const char c : head) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum));
  head[154] = '\0';
  bytes_.append(head.data(), head.size());
  bytes_ += bytes;
  bytes_.append((512 - bytes.size() % 512) % 512, '\0');
}

Tar& Tar::folder(std::string path, unsigned mode, unsigned owner) {
  entry(path + "/", '5', mode, owner, "", "");
  return *this;
}
Tar& Tar::file(std::string path, std::string bytes, unsigned mode, unsigned owner) {
  entry(path, '0', mode, owner, "", bytes);
  return *this;
}
Tar& Tar::symlink(std::string path, std::string target) {
  entry(path, '2', 0777, 0, target, "");
  return *this;
}
std::string Tar::bytes() const { return bytes_ + std::string(1024, '\0'); }

Fd file_of(std::string_view bytes) {
  Fd fd(::memfd_create("test", MFD_CLOEXEC));
  value_of(write_all(fd.get(), bytes));
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

Tar busybox_tar() {
  Tar tar;
  tar.folder("bin").folder("etc").folder("tmp", 0755);  // on purpose not 1777
  tar.file("bin/busybox", value_of(read_file("/bin/busybox")), 0755);
  for (const char* name :
       {"sh",   "cat",  "ls",    "id",    "sleep",  "mount", "unshare", "echo",     "httpd", "grep",    "touch",
        "dd",   "true", "false", "mkdir", "rm",     "ip",    "chown",   "readlink", "stat",  "kill",    "nc",
        "wc",   "test", "su",    "mknod", "chroot", "env",   "printf",  "nslookup", "wget",  "timeout", "head",
        "tail", "yes",  "find",  "df",    "ln",     "cp",    "ping",    "seq",      "sync"})
    tar.symlink(std::string("bin/") + name, "busybox");
  tar.file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n");
  tar.file("etc/group", "root:x:0:\napp:x:1000:\nstaff:x:50:app\n");
  tar.folder("www").file("www/index.html", "hello from inside\n");
  return tar;
}

// --- runner

RunnerFixture::RunnerFixture()
    : folder_(value_of(TemporaryFolder::make("/var/tmp", "wick-container-"))), shelf_(value_of(Shelf::make())) {
  ::chmod(folder_.path().c_str(), 0755);  // the run folder must be reachable
  value_of(make_folders(folder_.path() / "logs"));
  start_runner();
  busybox_ = {import(busybox_tar())};
}

RunnerFixture::~RunnerFixture() {
  if (client_) {
    auto task = [](Runner& runner) -> awaitable<void> {
      auto all = co_await runner.list();
      if (!all) co_return;
      for (const auto& existing : *all) co_await runner.remove(existing.id);
    };
    run(task(*client_));
  }
  stop_runner();
}

void RunnerFixture::start_runner() {
  auto pair = value_of(Seqpacket::pair());
  ProcessOptions options;
  options.argv = {"/proc/self/exe", "runner", (folder_.path() / "state").string(), (folder_.path() / "run").string()};
  options.stderr_fd = 2;
  options.extra_fds = {{pair.second.get(), 3}, {shelf_.in().get(), 4}, {shelf_.out().get(), 5}};
  auto process = value_of(ChildProcess::spawn(loop_.get_executor(), options));
  process_.emplace(std::move(process));
  client_ = std::make_unique<RunnerClient>(loop_.get_executor(), std::move(pair.first));
  client_->on_inside([this](const InstanceId& id, const EgressPolicy&,
                            Inside inside) { insides.insert_or_assign(id, std::move(inside)); },
                     [this](const InstanceId& id) { insides.erase(id); });
  client_->on_exit([this](const Exit& exit) { exits.push_back(exit); });
  tasks_ = std::make_unique<TaskGroup>(loop_.get_executor());
  tasks_->spawn("client", client_->run());
}

void RunnerFixture::stop_runner() {
  process_.reset();  // kills it
  if (client_) client_->close();
  if (tasks_) run(tasks_->stop());
  tasks_.reset();
  client_.reset();
}

void RunnerFixture::restart_runner() {
  stop_runner();
  start_runner();
}

void RunnerFixture::hand_over_runner() {
  client_->close();
  run(tasks_->stop());
  client_.reset();
  CHECK(run(process_->wait()).ok());
  insides.clear();
  stop_runner();
  start_runner();
}

Digest RunnerFixture::import(const Tar& tar) {
  const std::string bytes = tar.bytes();
  const Digest digest = Digest::of(bytes);
  value_of(run(runner().import_layer(digest, file_of(bytes))));
  return digest;
}

InstanceSpec RunnerFixture::spec(std::vector<std::string> argv) {
  InstanceSpec spec;
  spec.id = InstanceId::random();
  spec.layers = busybox_;
  spec.process.argv = std::move(argv);
  spec.process.environment = {"PATH=/bin", "HOME=/"};
  spec.limits.memory_bytes = 64 << 20;
  spec.limits.pids = 64;
  return spec;
}

Fd RunnerFixture::open_log(const InstanceId& id) {
  return value_of(open_file(folder_.path() / "logs" / id.text(), O_WRONLY | O_APPEND | O_CREAT, 0600));
}

std::string RunnerFixture::log_of(const InstanceId& id) const {
  return value_of(read_file(folder_.path() / "logs" / id.text()));
}

Prepared RunnerFixture::launch(const InstanceSpec& spec) {
  auto prepared = value_of(run(runner().prepare(spec, open_log(spec.id))));
  value_of(run(runner().start(spec.id)));
  return prepared;
}

Exit RunnerFixture::wait_exit(const InstanceId& id) {
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (std::chrono::steady_clock::now() < until) {
    for (const auto& exit : exits)
      if (exit.id == id) return exit;
    loop_.restart();
    loop_.run_one_for(50ms);
  }
  FAIL("no exit notice for " << id.text());
  return {};
}

Exit RunnerFixture::run_to_exit(InstanceSpec spec) {
  launch(spec);
  const Exit exit = wait_exit(spec.id);
  value_of(run(runner().remove(spec.id)));
  return exit;
}

std::vector<std::string> RunnerFixture::leftovers() const {
  std::vector<std::string> found;
  std::error_code error;
  const auto note = [&](const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder, error)) found.push_back(entry.path().string());
  };
  note(folder_.path() / "run/instances");
  note(folder_.path() / "run/runc");
  note(folder_.path() / "state/steps");
  for (const auto& line : {std::string("/sys/fs/cgroup/memory/wick"), std::string("/sys/fs/cgroup/pids/wick"),
                           std::string("/sys/fs/cgroup/wick")})
    for (const auto& entry : fs::directory_iterator(line, error))
      if (entry.is_directory() && fs::exists(folder_.path() / "logs" / entry.path().filename()))
        found.push_back(entry.path().string());
  const auto mounts = value_of(read_file("/proc/self/mountinfo"));
  if (mounts.find(folder_.path().string()) != std::string::npos)
    found.push_back("a mount below " + folder_.path().string());
  return found;
}

}  // namespace wick::container::testing
