#include "app/front.hpp"

#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>

#include <fmt/format.h>
#include <sys/resource.h>

#include <unistd.h>
#include <cerrno>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <utility>

#include "app/build_secrets.hpp"
#include "app/deliver.hpp"
#include "app/doctor.hpp"
#include "app/drain_file.hpp"
#include "app/embedded.hpp"
#include "app/gateway.hpp"
#include "app/guard.hpp"
#include "app/https.hpp"
#include "app/image_collector.hpp"
#include "app/images.hpp"
#include "app/name_lookup.hpp"
#include "app/open_acme.hpp"
#include "app/proxy_loops.hpp"
#include "wick/api/api.hpp"
#include "wick/api/followed_branches.hpp"
#include "wick/api/webhooks.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/build/build.hpp"
#include "wick/build/git_look.hpp"
#include "wick/container/launcher.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/control/control.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/http/server.hpp"
#include "wick/image/content_store.hpp"
#include "wick/image/registry_store.hpp"
#include "wick/os/files.hpp"
#include "wick/os/systemd.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/together.hpp"
#include "wick/os/worker.hpp"
#include "wick/serving/serving.hpp"
#include "wick/store/objects.hpp"

namespace wick::app {

namespace fs = std::filesystem;

fs::path front_folder(const Config& config) { return config.state / "front"; }

namespace {

constexpr milliseconds branch_look_limit{60'000};       // a server that names its refs slower is asked again later
constexpr auto drain_limit = std::chrono::seconds(75);  // trust-and-ux.md 10.5: requests in flight get so long to end
// One that takes over waits so long for answers to begin. Who takes longer goes on beside it, as what flows does.
constexpr auto settle_limit = std::chrono::seconds(2);
constexpr auto watchers_limit = std::chrono::milliseconds(500);  // who watches the API asks the next one again
constexpr auto look_again = std::chrono::milliseconds(50);       // while something is waited for that tells nobody
constexpr auto count_again = std::chrono::milliseconds(250);     // how late others know what is in flight here

std::size_t cores() { return static_cast<std::size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN))); }

std::uint64_t memory_of_machine() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

struct Folders {
  fs::path content, registry, uploads, work, logs, build_logs, cache, builders, git;
};

Result<Folders> make_front_folders(const Config& config) {
  const auto top = front_folder(config);
  Folders folders{.content = top / "content",
                  .registry = top / "registry",
                  .uploads = top / "uploads",
                  .work = top / "work",
                  .logs = top / "logs",
                  .build_logs = top / "logs" / "builds",
                  .cache = top / "cache",
                  .builders = top / "builders",
                  .git = top / "git"};
  // What a build that was cut left behind is of no use to anyone.
  if (auto removed = remove_tree(folders.work); !removed) return fail(std::move(removed.error()));
  if (auto removed = remove_tree(folders.builders); !removed) return fail(std::move(removed.error()));
  for (const auto& folder : {folders.content, folders.registry, folders.uploads, folders.work, folders.logs,
                             folders.build_logs, folders.cache, folders.builders, folders.git})
    if (auto made = make_folders(folder, 0700); !made) return fail(std::move(made.error()));
  return folders;
}

/// The built-in builder files, then a person's own over them by name, with what those embed.
Result<void> lay_out_builders(const fs::path& into, const fs::path& own) {
  for (const auto& file : embedded_builders())
    if (auto written = write_file(into / file.name, file.bytes); !written) return written;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(own, missing)) {
    if (!entry.is_regular_file(missing)) continue;
    auto text = read_file(entry.path(), 1 << 20);
    if (!text) return fail(std::move(text.error()).hint("builder files must be readable by the user wick runs as"));
    if (auto written = write_file(into / entry.path().filename(), *text); !written) return written;
  }
  return {};
}

/// What instances together may use: the rest is the daemon's, the page cache's and everybody else's. More starts at
/// once than this only make each of them slower.
serving::BoxLimits box_limits() {
  const auto memory =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return {.memory_bytes = memory / 10 * 8, .starts = 16 * static_cast<int>(cores())};
}

/// Of "host:port"; 0 where there is none.
std::uint16_t port_of(std::string_view address) {
  const auto colon = address.rfind(':');
  if (colon == std::string_view::npos) return 0;
  return static_cast<std::uint16_t>(parse_unsigned(address.substr(colon + 1)).value_or(0));
}

constexpr std::uint64_t bytes_freed_for_build = 2ull << 30;

/// ENOSPC of ours, or of a program in a RUN.
bool ran_out_of_disk(const build::BuildFailure& failure) {
  const auto says_so = [](std::string_view line) { return line.contains("No space left on device"); };
  return says_so(failure.error.what()) || std::ranges::any_of(failure.failure.last_output, says_so);
}

std::unexpected<build::BuildFailure> build_failure(Error error, WallTime now) {
  model::Failure failure{
      .step = "build", .slug = slug(error.code()), .because = error.what(), .hint = error.hint(), .when = now};
  return std::unexpected(build::BuildFailure{.error = std::move(error), .failure = std::move(failure)});
}

/// Every long-lived object of the front, in the order in which each needs the ones above it. Started and stopped by
/// run().
class Front {
 public:
  static Result<std::unique_ptr<Front>> make(asio::io_context& loop, const Config& config, FrontSockets sockets,
                                             std::shared_ptr<const store::Vault> vault);

  awaitable<Result<void>> run();

 private:
  Front(asio::io_context& loop, const Config& config, FrontSockets sockets, Folders folders,
        image::ContentStore content, std::unique_ptr<store::Database> control_database,
        std::unique_ptr<store::Database> event_database)
      : loop_(loop),
        config_(config),
        sockets_(std::move(sockets)),
        reports_(std::move(sockets_.guard)),
        folders_(std::move(folders)),
        content_(std::move(content)),
        control_database_(std::move(control_database)),
        event_database_(std::move(event_database)) {}

  Result<void> build(std::shared_ptr<const store::Vault> vault);
  Result<void> build_acme();
  http::Handler before_services(http::Handler services);
  awaitable<Result<void>> start();
  awaitable<Result<void>> wait_for_end();
  awaitable<void> stroke_watchdog(std::chrono::microseconds pause);
  awaitable<void> stop();
  awaitable<void> drain();
  awaitable<void> stop_edge(milliseconds grace);
  awaitable<bool> hand_over();
  awaitable<void> give_up();
  awaitable<void> linger();
  awaitable<void> stop_flows(milliseconds grace);
  awaitable<void> flow_to_end();
  awaitable<void> tell_in_flight(DrainFile file);
  awaitable<void> follow_earlier(RequestCounts counted);
  awaitable<void> count_events(const http::Handler& take, http::Exchange& exchange);
  fs::path drain_folder() const { return front_folder(config_) / "drains"; }
  bool ends_instances() const { return config_.on_stop == OnStop::stop && !runner_lost_ && !hands_over_; }
  std::size_t loops() const { return config_.loops > 0 ? config_.loops : cores(); }
  awaitable<Result<std::vector<container::RunnerLauncher::Adopted>>> adopt();
  awaitable<std::expected<build::BuiltImage, build::BuildFailure>> build_image(build::BuildRequest request,
                                                                               build::OnProgress progress);
  awaitable<std::expected<build::BuiltImage, build::BuildFailure>> build_once(build::BuildRequest request,
                                                                              build::OnProgress progress);
  awaitable<void> events_inside(std::string owner, http::Exchange& exchange);
  awaitable<void> listen_inside(std::vector<container::InstanceId> instances);
  model::AdmissionPolicy admission_policy() const;
  api::Doors api_doors();
  awaitable<void> seal_secrets_anew();

  asio::io_context& loop_;
  Executor executor_ = loop_.get_executor();
  const Config& config_;
  FrontSockets sockets_;
  Reports reports_{};
  Folders folders_;
  SteadyClock clock_;
  Metrics metrics_;
  WorkerPool workers_{2};
  image::ContentStore content_;
  std::unique_ptr<image::RegistryStore> registry_;
  std::unique_ptr<store::Database> control_database_;
  std::unique_ptr<store::Database> event_database_;
  std::shared_ptr<const store::Vault> vault_;
  std::unique_ptr<store::Objects> objects_;
  std::unique_ptr<container::RunnerClient> runner_;
  std::unique_ptr<container::RunnerLauncher> launcher_;
  std::unique_ptr<build::Builder> builder_;
  BuildSecrets build_secrets_{clock_};
  std::unique_ptr<LocalImages> images_;
  std::unique_ptr<ProxyLoops> proxy_loops_;  // serving_ has objects on these loops
  std::unique_ptr<serving::Serving> serving_;
  std::unique_ptr<Deliverer> deliverer_;
  std::unique_ptr<eventing::Eventing> eventing_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<Https> https_;
  std::unique_ptr<acme::Acme> acme_;  // nullptr: off
  std::unique_ptr<control::Control> control_;
  std::unique_ptr<http::Server> edge_server_;
  std::unique_ptr<http::Server> events_server_;
  std::shared_ptr<api::Webhooks> webhooks_;
  std::unique_ptr<api::FollowedBranches> followed_;
  std::unique_ptr<http::Server> api_server_;
  std::string listen_address_;
  std::string https_address_;
  std::string events_address_;
  std::string api_address_;
  std::string secret_key_;  // fingerprint; empty until every Secret is sealed with that key
  bool runner_lost_ = false;
  bool disk_broken_ = false;
  bool stopping_ = false;
  bool hands_over_ = false;  // another front takes over: what flows goes on
  int events_in_flight_ = 0;
  asio::signal_set signals_{loop_, SIGTERM, SIGINT};
  TaskGroup tasks_{executor_};
  bool flowed_ = false;
  TaskGroup lingering_{executor_};  // once another front has taken over
};

Result<std::unique_ptr<Front>> Front::make(asio::io_context& loop, const Config& config, FrontSockets sockets,
                                           std::shared_ptr<const store::Vault> vault) {
  auto folders = make_front_folders(config);
  if (!folders) return fail(std::move(folders.error()));
  if (auto laid = lay_out_builders(folders->builders, config.builders); !laid)
    return fail(std::move(laid.error()).within("builders"));
  auto content = image::ContentStore::open(folders->content);
  if (!content) return fail(std::move(content.error()).within("image store"));
  const auto open_database = [&](const char* name, std::vector<std::string_view> migrations,
                                 store::DatabaseOptions options = {}) {
    return store::Database::open((front_folder(config) / name).string(), std::move(migrations), options);
  };
  // A database counts its migrations: whatever is added goes to the end of this list, whoever adds it.
  auto control_migrations = store::Objects::migrations();
  for (const auto migration : api::migrations()) control_migrations.push_back(migration);
  auto control_database = open_database("control.db", std::move(control_migrations));
  if (!control_database) return fail(std::move(control_database.error()).within("control.db"));
  auto event_database = open_database("events.db", eventing::Eventing::migrations(), {.log_bytes = 18 << 20});
  if (!event_database) return fail(std::move(event_database.error()).within("events.db"));
  auto front =
      std::unique_ptr<Front>(new Front(loop, config, std::move(sockets), std::move(*folders), std::move(*content),
                                       std::move(*control_database), std::move(*event_database)));
  if (auto built = front->build(std::move(vault)); !built) return fail(std::move(built.error()));
  return front;
}

Result<void> Front::build(std::shared_ptr<const store::Vault> vault) {
  listen_address_ = http::bound_address(sockets_.http);
  if (sockets_.https) https_address_ = http::bound_address(sockets_.https);
  events_address_ = http::bound_address(sockets_.events);
  if (sockets_.api_tcp) api_address_ = http::bound_address(sockets_.api_tcp);
  vault_ = std::move(vault);
  auto objects = store::Objects::open(*control_database_, clock_, vault_);
  if (!objects) return fail(std::move(objects.error()).within("control.db"));
  objects_ = std::move(*objects);
  runner_ = std::make_unique<container::RunnerClient>(executor_, std::move(sockets_.runner));
  launcher_ = std::make_unique<container::RunnerLauncher>(executor_, *runner_, folders_.logs.string());
  auto registry = image::RegistryStore::open(folders_.registry, content_);
  if (!registry) return fail(std::move(registry.error()).within("registry"));
  registry_ = std::move(*registry);
  build::Builder::Places places{
      .builders = folders_.builders, .work = folders_.work, .cache = folders_.cache, .bases = config_.bases};
  builder_ = std::make_unique<build::Builder>(executor_, clock_, workers_, *runner_, content_, std::move(places));
  images_ =
      std::make_unique<LocalImages>(ImageDoors{.executor = executor_,
                                               .workers = workers_,
                                               .store = content_,
                                               .runner = *runner_,
                                               .builder = *builder_,
                                               .work = folders_.work,
                                               .needed = [this] { return control::images_of_revisions(*objects_); },
                                               .limits = config_.image_limits,
                                               .clock = &clock_,
                                               .registries = config_.registries,
                                               .registry = registry_.get()});
  builder_->pull_with([this](std::string name, std::function<void(std::string)> on_line) {
    return images_->fetch(name, {}, name, std::move(on_line));
  });
  const bool one_loop = loops() == 1;
  serving::ServingOptions serving_options{
      .idle_connection_limit = one_loop ? std::chrono::milliseconds(60'000) : std::chrono::milliseconds(50),
      .sleep_bytes_max = config_.sleep_memory ? config_.sleep_memory : memory_of_machine() / 5,
      .box = box_limits(),
      .access_log = std::move(sockets_.access_log)};
  serving_ = std::make_unique<serving::Serving>(executor_, clock_, *launcher_, metrics_, std::move(serving_options));
  deliverer_ =
      std::make_unique<Deliverer>(executor_, clock_, *serving_, [this](http::Request request, eventing::Sender sender) {
        return eventing_->accept(std::move(request), std::move(sender));
      });
  eventing_ = std::make_unique<eventing::Eventing>(
      executor_, clock_, *event_database_, metrics_,
      [this](eventing::Destination destination, http::Request request, milliseconds limit) {
        return deliverer_->deliver(std::move(destination), std::move(request), limit);
      },
      eventing::Eventing::Limits{});
  Gateway::Doors doors{.services = serving_->handler(),
                       .events = [this](std::string owner,
                                        http::Exchange& exchange) { return events_inside(std::move(owner), exchange); },
                       .serves = [this](std::string_view host) { return serving_->serves(host); },
                       .takes_events = [this](std::string_view host) { return eventing_->serves(host); },
                       .owner_of = [this](const container::InstanceId& id) { return launcher_->owner_of(id); }};
  gateway_ = std::make_unique<Gateway>(executor_, clock_, std::move(doors));
  runner_->on_inside([this](const container::InstanceId& id, const EgressPolicy& egress,
                            container::Inside inside) { gateway_->open(id, egress, std::move(inside)); },
                     [this](const container::InstanceId& id) { gateway_->close(id); });
  // What steers port 80 inside an instance went with the runner that made it.
  runner_->on_restart([this] { tasks_.spawn("listen inside", listen_inside(gateway_->instances())); });
  Https::Places https_places{.own = front_folder(config_) / "tls", .certificates = config_.tls_certificates};
  auto https = Https::open(clock_, std::move(https_places), port_of(https_address_));
  if (!https) return fail(std::move(https.error()).within("TLS"));
  https_ = std::move(*https);
  control::Collaborators collaborators{
      .executor = executor_,
      .clock = clock_,
      .workers = workers_,
      .metrics = metrics_,
      .objects = *objects_,
      .images = content_,
      .runner = *runner_,
      .serving = *serving_,
      .eventing = *eventing_,
      .run_build = [this](build::BuildRequest request,
                          build::OnProgress progress) { return build_image(std::move(request), std::move(progress)); },
      .adopt = [this] { return adopt(); },
      .registries = {.resolve =
                         [this](std::string reference, control::PullPolicy policy, std::vector<std::string> configs) {
                           return images_->resolve(std::move(reference), policy, std::move(configs));
                         },
                     .pull = [this](std::string reference,
                                    std::vector<std::string> configs) -> awaitable<Result<void>> {
                       auto image = co_await images_->fetch(std::move(reference), std::move(configs), "", {});
                       if (!image) co_return fail(std::move(image.error()));
                       co_return Result<void>{};
                     }}};
  collaborators.launcher = launcher_.get();
  if (auto built = build_acme(); !built) return fail(std::move(built.error()).within("ACME"));
  if (acme_)
    collaborators.issued_certificate = [this](const std::string& host) {
      return told(acme_->issuer(), host, https_->needs_certificate(host));
    };
  collaborators.show_clients = [this](const control::ClientHosts& hosts) { https_->show_clients(hosts); };
  if (sockets_.https) collaborators.show_https = [this](control::HttpsHosts hosts) { https_->show(std::move(hosts)); };
  control::ControlOptions options{.domain = config_.domain,
                                  .events_address = events_address_,
                                  .uploads = folders_.uploads,
                                  .build_logs = folders_.build_logs,
                                  .admission = admission_policy(),
                                  .stop_instances = [this] { return ends_instances(); }};
  control_ = std::make_unique<control::Control>(std::move(collaborators), std::move(options));
  if (acme_)
    https_->tell_uncertified(
        [this](std::map<std::string, std::string> hosts) { acme_->issuer().want(std::move(hosts)); });
  return {};
}

Result<void> Front::build_acme() {
  if (config_.acme.directory.empty()) return {};
  if (!sockets_.https)
    return fail(Errc::invalid, "certificates are asked for, and https is not spoken", "--https-listen 0.0.0.0:443");
  acme::AcmeDoors doors{
      .executor = executor_,
      .clock = clock_,
      .workers = workers_,
      .metrics = metrics_,
      .show = [this](auto certificates) { https_->show_issued(std::move(certificates)); },
      .show_challenges = [this](auto certificates) { https_->show_challenges(std::move(certificates)); },
      .changed = [this](const std::string& host) { control_->certificate_changed(host); },
      .look_up = [](const std::string& host) { return "seen from here, " + describe(look_up_name(host)); }};
  auto opened = open_acme(config_.acme, front_folder(config_) / "tls" / "acme", std::move(doors));
  if (!opened) return fail(std::move(opened.error()));
  acme_ = std::move(*opened);
  return {};
}

/// What of a request is the edge's own business.
http::Handler Front::before_services(http::Handler services) {
  auto behind = api::answering_webhooks(webhooks_, https_->requiring_clients(std::move(services)));
  auto handler = https_->redirecting(std::move(behind));
  return acme_ ? acme_->challenges().answering(std::move(handler)) : handler;
}

awaitable<std::expected<build::BuiltImage, build::BuildFailure>> Front::build_image(build::BuildRequest request,
                                                                                    build::OnProgress progress) {
  if (!request.secrets_ticket.empty()) {
    auto secrets = build_secrets_.take(request.secrets_name_space, request.secrets_ticket);
    if (!secrets) co_return build_failure(std::move(secrets.error()), clock_.wall());
    request.secrets = std::move(*secrets);
  }
  auto built = co_await build_once(request, progress);
  if (!built && ran_out_of_disk(built.error())) {
    auto freed = co_await images_->collector().free(bytes_freed_for_build);
    if (freed && freed->bytes > 0) {
      progress({.kind = build::Progress::Kind::output,
                .step = "build",
                .text = fmt::format("the disk was full: {} of images that nothing needs are gone, once more",
                                    human_bytes(freed->bytes))});
      built = co_await build_once(std::move(request), std::move(progress));
    }
    if (!built && ran_out_of_disk(built.error()))
      built.error().failure.hint = "the disk is full: wick image ls, wick image rm NAME, wick image prune";
  }
  images_->collector().ring();
  co_return built;
}

awaitable<std::expected<build::BuiltImage, build::BuildFailure>> Front::build_once(build::BuildRequest request,
                                                                                   build::OnProgress progress) {
  const auto use = co_await images_->use().enter();
  auto built = co_await builder_->run(std::move(request), std::move(progress));
  co_return built;
}

/// What runs since before us, with our listeners inside it again.
awaitable<Result<std::vector<container::RunnerLauncher::Adopted>>> Front::adopt() {
  auto adopted = co_await launcher_->adopt();
  if (!adopted) co_return adopted;
  std::vector<container::InstanceId> instances;
  for (const auto& found : *adopted) instances.push_back(found.instance->id());
  co_await listen_inside(std::move(instances));
  co_return adopted;
}

awaitable<void> Front::events_inside(std::string owner, http::Exchange& exchange) {
  eventing::Sender sender{.kind = eventing::Sender::Kind::inside, .subject = control::sender_of(*objects_, owner)};
  const auto handler = eventing_->ingress(std::move(sender));
  co_await count_events(handler, exchange);
}

awaitable<void> Front::listen_inside(std::vector<container::InstanceId> instances) {
  for (const auto& id : instances) {
    auto listened = co_await runner_->listen_inside(id);
    if (!listened)
      log::warn("no gateway in an adopted instance", {{"instance", id.text()}, {"error", listened.error().what()}});
  }
}

model::AdmissionPolicy Front::admission_policy() const {
  return {.allow_zero_initial_scale = config_.allow_zero_initial_scale};
}

api::Doors Front::api_doors() {
  return api::Doors{.executor = executor_,
                    .clock = clock_,
                    .workers = workers_,
                    .metrics = metrics_,
                    .database = *control_database_,
                    .objects = *objects_,
                    .control = *control_,
                    .serving = *serving_,
                    .eventing = *eventing_,
                    .images = *images_,
                    .logs = [this](std::string_view owner) { return launcher_->logs(owner); },
                    .doctor = [this]() -> awaitable<std::vector<Check>> {
                      auto checks = co_await run_doctor(config_);
                      if (acme_) checks.push_back(check_certificates(acme_->issuer()));
                      co_return checks;
                    },
                    .ready = [this] { return !stopping_; },
                    .uploads = folders_.uploads,
                    .info = {.version = WICK_VERSION,
                             .listen = listen_address_,
                             .https_listen = https_address_,
                             .events_listen = events_address_,
                             .domain = config_.domain,
                             .api_listen = api_address_,
                             .api_authority = https_->authority(),
                             .secret_key = secret_key_},
                    .admission = admission_policy(),
                    .keep_build_secrets =
                        [this](const std::string& name_space, BuildSecrets::Values values) {
                          return build_secrets_.keep(name_space, std::move(values));
                        },
                    .registry = registry_.get(),
                    .builders = folders_.builders,
                    .bases = std::string(to_text(config_.bases)),
                    .git = folders_.git};
}

/// After a rotation (wick secret rotate-key): once this is done the older keys are of no use.
awaitable<void> Front::seal_secrets_anew() {
  if (!vault_) co_return;
  auto count = co_await objects_->reseal();
  if (!count) {
    log::error("Secrets not sealed with the newest key", {{"error", count.error().what()}});
    co_return;
  }
  secret_key_ = vault_->fingerprint();
  if (vault_->keys() > 1)
    log::info("every Secret is sealed with the newest key",
              {{"anew", *count}, {"next", "wick secret rotate-key --drop-old"}});
}

awaitable<Result<void>> Front::start() {
  auto serve_runner_replies = [](Front* front) -> awaitable<void> {
    co_await front->runner_->run();
    front->runner_lost_ = true;
    front->signals_.cancel();
  };
  tasks_.spawn("runner", serve_runner_replies(this));
  eventing_->on_broken_disk([this] {
    disk_broken_ = true;
    signals_.cancel();
  });
  co_await seal_secrets_anew();
  auto started = co_await control_->start();
  if (!started) co_return fail(std::move(started.error()).within("start"));
  tasks_.spawn("certificates", https_->keep_fresh());
  tasks_.spawn("image collector", images_->collector().run());
  // From here on the stored state is in force: listeners may open.
  if (auto counted = read_drain_files(drain_folder()); !counted.empty()) {
    for (const auto& [id, count] : counted) serving_->count_elsewhere(id, count);
    tasks_.spawn("requests of earlier processes", follow_earlier(std::move(counted)));
  }
  auto api = api::make_api(api_doors());
  if (!api) co_return fail(std::move(api.error()).within("control.db"));
  webhooks_ = api::make_webhooks(api_doors());
  followed_ = std::make_unique<api::FollowedBranches>(api_doors(), [this](build::GitSource source) {
    return build::look_at_branch(clock_, std::move(source), folders_.work, branch_look_limit);
  });
  tasks_.spawn("followed branches", followed_->run());
  api_server_ = std::make_unique<http::Server>(executor_, clock_, http::ServerLimits{},
                                               api::answering_webhooks(webhooks_, std::move(*api)));
  const auto limits = http::share_of(config_.limits, loops());
  edge_server_ = std::make_unique<http::Server>(executor_, clock_, limits, before_services(serving_->handler()));
  edge_server_->trust(config_.trusted_proxies);
  edge_server_->count_in(metrics_, "edge");
  events_server_ = std::make_unique<http::Server>(executor_, clock_, http::ServerLimits{}, eventing_->ingress());
  std::vector<ProxyLoops::Door> doors;
  doors.push_back({.listener = std::move(sockets_.http), .how = {}});
  if (sockets_.https) doors.push_back({.listener = std::move(sockets_.https), .how = https_->edge()});
  for (auto& door : doors) door.how.proxy_header = config_.proxy_header;
  for (auto& more : sockets_.more) {
    auto how = more.https ? https_->edge() : http::Listening{};
    how.proxy_header = more.proxy_header;
    log::info("also listening", {{"listen", http::bound_address(more.fd)},
                                 {"https", more.https ? "yes" : "no"},
                                 {"proxyProtocol", more.proxy_header ? "yes" : "no"}});
    doors.push_back({.listener = std::move(more.fd), .how = std::move(how)});
  }
  proxy_loops_ = std::make_unique<ProxyLoops>(
      loops() - 1, *edge_server_, doors, limits, config_.trusted_proxies,
      [this](Executor loop, Clock& clock) { return before_services(serving_->handler_on(loop, clock)); });
  for (auto& door : doors) edge_server_->listen(std::move(door.listener), door.how);
  events_server_->listen(std::move(sockets_.events));
  api_server_->listen(std::move(sockets_.api));
  if (sockets_.api_tcp) api_server_->listen(std::move(sockets_.api_tcp), https_->api());
  if (acme_) tasks_.spawn("acme", acme_->issuer().run());
  log::info("serving", {{"listen", listen_address_},
                        {"httpsListen", https_address_},
                        {"events", events_address_},
                        {"api", config_.api_socket().string()},
                        {"apiListen", api_address_}});
  reports_.ready();
  if (const auto limit = watchdog_limit()) tasks_.spawn("watchdog", stroke_watchdog(*limit / 2));
  co_return Result<void>{};
}

/// From this loop, as it is this loop that must not stand still.
awaitable<void> Front::stroke_watchdog(std::chrono::microseconds pause) {
  while (true) {
    reports_.alive();
    co_await clock_.sleep(pause);
  }
}

awaitable<Result<void>> Front::wait_for_end() {
  if (reports_.guarded()) signals_.add(SIGUSR2);
  try {
    const int signal = co_await signals_.async_wait(use_awaitable);
    // By SIGUSR2 the guard asks for an upgrade.
    hands_over_ = reports_.guarded() && (signal == SIGUSR2 || (signal == SIGTERM && config_.on_stop == OnStop::keep));
    log::info("stopping", {{"signal", signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "SIGUSR2"}});
  } catch (const boost::system::system_error&) {
    if (runner_lost_)
      co_return fail(Errc::unavailable, "the runner is gone",
                     "look at the lines above; instances go on, and the next start adopts them");
    if (disk_broken_)
      co_return fail(Errc::io, "the event log takes no more writes",
                     "check the disk; what was acknowledged is there at the next start");
    throw;
  }
  co_return Result<void>{};
}

/// All loops at once: the limit is that of the whole.
awaitable<void> Front::stop_edge(milliseconds grace) {
  auto main = keep_value(edge_server_->stop(grace), false);
  auto others = keep_value(proxy_loops_->stop(grace), false);
  co_await run_together(std::move(main), std::move(others));
}

awaitable<void> Front::stop() {
  stopping_ = true;
  reports_.stopping();
  const bool handed_over = hands_over_ && co_await hand_over();
  if (handed_over)
    co_await linger();
  else
    co_await drain();
  co_await serving_->stop(ends_instances());
  if (proxy_loops_) proxy_loops_->end();
  co_await launcher_->stop();
  co_await gateway_->stop();
  runner_->close();
  co_await tasks_.stop();
  if (acme_) co_await acme_->challenges().stop();
}

/// New work first, then what carries work, then what work stands on.
awaitable<void> Front::drain() {
  if (events_server_) co_await events_server_->stop(drain_limit);
  if (edge_server_) co_await stop_edge(drain_limit);
  co_await eventing_->stop();
  if (api_server_) co_await api_server_->stop(std::chrono::seconds(2));
  co_await control_->stop();
}

awaitable<void> Front::count_events(const http::Handler& take, http::Exchange& exchange) {
  struct InFlight {
    explicit InFlight(int& count) : count(++count) {}
    InFlight(const InFlight&) = delete;
    ~InFlight() { --count; }
    int& count;
  };
  const InFlight in_flight(events_in_flight_);
  co_await take(exchange);
}

// ---- from one front to the next

/// What is in flight at an adopted instance with a front before this one counts until it is over.
awaitable<void> Front::follow_earlier(RequestCounts counted) {
  while (!counted.empty()) {
    co_await clock_.sleep(count_again);
    auto now = read_drain_files(drain_folder());
    for (const auto& [id, count] : counted)
      if (!now.contains(id)) serving_->count_elsewhere(id, 0);
    for (const auto& [id, count] : now) serving_->count_elsewhere(id, count);
    counted = std::move(now);
  }
}

/// Everything is given up but connections in which something flows. False where requests are in the way of that.
awaitable<bool> Front::hand_over() {
  TaskGroup leaving(executor_);
  leaving.spawn("edge leaves", edge_server_->leave(settle_limit));
  leaving.spawn("proxy loops leave", proxy_loops_->leave(settle_limit));
  leaving.spawn("gateway leaves", gateway_->leave(settle_limit));
  leaving.spawn("events stop", events_server_->stop(drain_limit));
  leaving.spawn("api stops", api_server_->stop(watchers_limit));
  co_await leaving.join();
  const auto until = clock_.now() + drain_limit;
  while (serving_->queued() > 0 && clock_.now() < until) co_await clock_.sleep(look_again);
  while (events_in_flight_ > 0 && clock_.now() < until) co_await clock_.sleep(look_again);
  if (events_in_flight_ > 0) co_return false;
  co_await give_up();
  co_return true;
}

awaitable<void> Front::give_up() {
  co_await eventing_->stop();
  co_await control_->stop();
  co_await serving_->leave();
  co_await launcher_->stop();
  auto file = DrainFile::make(drain_folder(), serving_->in_flight());
  if (!file) log::warn("the next daemon does not know what is in flight here", {{"error", file.error().what()}});
  runner_->close();
  co_await tasks_.stop();
  // Nobody asks these any more; with them go the databases, which have one owner at a time.
  serving_->on_change({});
  api_server_.reset();
  control_.reset();
  events_server_.reset();
  eventing_.reset();
  objects_.reset();
  control_database_.reset();
  event_database_.reset();
  const auto flows = edge_server_->connections();
  log::info("another daemon takes over", {{"connections", flows}, {"linger_ms", config_.linger.count()}});
  reports_.released();
  if (file) lingering_.spawn("what is in flight", tell_in_flight(std::move(*file)));
}

awaitable<void> Front::tell_in_flight(DrainFile file) {
  while (true) {
    if (auto told = file.update(serving_->in_flight()); !told)
      log::warn("the next daemon does not know what is in flight here", {{"error", told.error().what()}});
    co_await clock_.sleep(count_again);
  }
}

awaitable<void> Front::stop_flows(milliseconds grace) {
  auto edge = keep_value(stop_edge(grace), false);
  auto inside = keep_value(gateway_->drain(grace), false);
  co_await run_together(std::move(edge), std::move(inside));
}

awaitable<void> Front::flow_to_end() {
  co_await stop_flows(config_.linger);
  flowed_ = true;
  signals_.cancel();
}

/// Until the last tunnel and stream is done, time is up, or somebody asks for the end.
awaitable<void> Front::linger() {
  TaskGroup flows(executor_);
  flows.spawn("what flows", flow_to_end());
  if (!flowed_) co_await signals_.async_wait(asio::as_tuple(use_awaitable));
  if (!flowed_) co_await stop_flows(milliseconds(0));
  co_await flows.join();
  co_await lingering_.stop();
  log::info("nothing flows here any more");
}

awaitable<Result<void>> Front::run() {
  auto result = co_await start();
  if (result) result = co_await wait_for_end();
  co_await stop();
  co_return result;
}

}  // namespace

/// Every connection costs a file, and one more towards the instance: the usual soft limit of 1024 is for programs that
/// use select(2).
void allow_open_files() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max) return;
  files.rlim_cur = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &files) != 0)
    log::warn("the limit of open files stays as it is", {{"error", std::strerror(errno)}});
}

int run_front(const Config& config, FrontSockets sockets, std::shared_ptr<const store::Vault> vault) {
  allow_open_files();
  asio::io_context loop(1);
  int code = 1;
  auto front = Front::make(loop, config, std::move(sockets), std::move(vault));
  if (!front) {
    log::error("cannot start", {{"error", front.error().what()}, {"hint", front.error().hint()}});
    return 1;
  }
  asio::co_spawn(loop, (*front)->run(), [&](std::exception_ptr error, Result<void> result) {
    if (error) {
      try {
        std::rethrow_exception(error);
      } catch (const std::exception& e) {
        log::error("ended by an exception", {{"error", e.what()}});
      }
    } else if (!result) {
      log::error("ended", {{"error", result.error().what()}, {"hint", result.error().hint()}});
    } else {
      code = 0;
    }
    loop.stop();
  });
  loop.run();
  return code;
}

}  // namespace wick::app
