// What the front is made of, and who is handed whom.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "app/doctor.hpp"
#include "app/embedded.hpp"
#include "app/front_parts.hpp"
#include "app/name_lookup.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace fs = std::filesystem;

fs::path front_folder(const Config& config) { return config.state / "front"; }

namespace {

std::uint64_t memory_of_machine() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

Result<FrontFolders> make_front_folders(const Config& config) {
  const auto top = front_folder(config);
  FrontFolders folders{.content = top / "content",
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
  return {.memory_bytes = memory_of_machine() / 10 * 8, .starts = 16 * static_cast<int>(cores())};
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

}  // namespace

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

/// What runs since before us. It is listened to once its callers can be answered.
awaitable<Result<std::vector<container::RunnerLauncher::Adopted>>> Front::adopt() {
  auto adopted = co_await launcher_->adopt();
  if (!adopted) co_return adopted;
  for (const auto& found : *adopted) adopted_.push_back(found.instance->id());
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

}  // namespace wick::app
