// The change feed in, reconciles out. What a change of one object means for others is the one table in
// `touch_dependents`.
#include "wick/control/control.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "control/client_hosts.hpp"
#include "control/container_sources.hpp"
#include "control/event_access.hpp"
#include "control/event_transforms.hpp"
#include "control/https_hosts.hpp"
#include "control/job_sinks.hpp"
#include "control/jobs.hpp"
#include "control/log_sinks.hpp"
#include "control/mqtt_links.hpp"
#include "control/published_routes.hpp"
#include "control/reconcilers.hpp"
#include "control/values.hpp"
#include "control/webhook_sources.hpp"
#include "control/work_queue.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/eventing.hpp"

namespace wick::control {

namespace {

constexpr auto stop_unknown_grace = 10s;

const model::Kind* kind_of(const ObjectKey& key) { return model::find_stored_kind(key.resource); }

/// True when a reference to this kind and name is somewhere below.
bool names(const json::value& value, std::string_view kind, std::string_view name) {
  if (value.is_array())
    return std::ranges::any_of(value.get_array(), [&](const auto& element) { return names(element, kind, name); });
  const auto* object = value.if_object();
  if (!object) return false;
  if (model::text_at(*object, {"kind"}) == kind && model::text_at(*object, {"name"}) == name) return true;
  return std::ranges::any_of(*object, [&](const auto& member) { return names(member.value(), kind, name); });
}

}  // namespace

class Control::Impl {
 public:
  Impl(Collaborators collaborators, ControlOptions options)
      : world_{.with = collaborators,
               .options = options,
               .build_logs = BuildLogs(collaborators.executor, collaborators.clock, options.build_logs),
               .enqueue = [this](ObjectKey key) { queue_.enqueue(std::move(key)); },
               .enqueue_after = [this](ObjectKey key, Duration delay) { enqueue_after(std::move(key), delay); },
               .indexes = Indexes(collaborators.objects),
               .id_ranges_promised = {}},
        published_(options.domain),
        revisions_(world_),
        routes_(world_),
        build_runs_(world_),
        pings_(world_),
        api_server_sources_(world_),
        event_types_(world_),
        jobs_(world_),
        container_sources_(world_),
        mqtt_links_(world_),
        webhook_sources_(world_),
        queue_(collaborators.executor, collaborators.clock, {options.retry_first, options.retry_max},
               [this](ObjectKey key) { return reconcile(std::move(key)); }),
        tasks_(collaborators.executor) {}

  awaitable<Result<void>> start() {
    auto made = co_await ensure_namespace("default");
    if (!made) co_return made;
    co_await collect_orphans(world_);
    auto running = co_await still_running();
    co_await restore_revisions(running);
    adopt_others(running);
    co_await drop_jobless_events(world_);
    world_.with.eventing.on_status_request([this](const std::string& target) { return job_status(world_, target); });
    stop_unknown(std::move(running));
    publish_all();
    subscription_ = world_.objects().subscribe([this](const store::Change& change) { on_change(change); });
    world_.with.serving.on_change([this](const serving::RevisionKey& key) {
      queue_.enqueue(key_of(model::revision_kind(), key.name_space, key.name));
    });
    auto access = co_await configure_access(world_);
    if (!access) co_return access;
    // Policies before what they guard; brokers, channels and triggers first and at once: an event that comes with the
    // first connection finds its triggers.
    for (const auto* kind :
         {&model::event_policy_kind(), &model::job_sink_kind(), &integration_sink_kind(), &mqtt_sink_kind(),
          &event_transform_kind(), &model::broker_kind(), &model::in_memory_channel_kind(), &model::trigger_kind(),
          &model::subscription_kind(), &model::ping_source_kind(), &model::api_server_source_kind()})
      for (const auto& object : world_.objects().list(kind->resource())) {
        auto done = co_await reconcile(key_of(*kind, *object));
        if (!done) log::warn("not in force yet", {{"name", name_of(*object)}, {"error", done.error().what()}});
      }
    event_types_.configure();
    auto broker = co_await ensure_broker("default", "default");
    if (!broker) co_return broker;
    for (const auto& kind : model::kinds())
      if (kind.stored)
        for (const auto& object : world_.objects().list(kind.resource())) queue_.enqueue(key_of(kind, *object));
    co_return Result<void>();
  }

  awaitable<void> stop() {
    subscription_ = {};
    world_.with.serving.on_change({});
    co_await queue_.stop();
    co_await event_types_.stop();
    co_await pings_.stop();
    co_await api_server_sources_.stop();
    const bool ends_instances = world_.options.stop_instances && world_.options.stop_instances();
    co_await container_sources_.stop(ends_instances);
    co_await mqtt_links_.stop();
    co_await jobs_.stop(ends_instances);
    co_await build_runs_.stop();
    co_await tasks_.stop();
  }

  awaitable<Result<void>> ensure_namespace(std::string name) {
    const auto key = key_of(model::namespace_kind(), {}, name);
    if (world_.objects().find(key)) co_return Result<void>();
    json::object object{{"apiVersion", "v1"},
                        {"kind", "Namespace"},
                        {"metadata", {{"name", name}, {"labels", {{"kubernetes.io/metadata.name", name}}}}},
                        {"spec", json::object()},
                        {"status", {{"phase", "Active"}}}};
    auto created = co_await world_.objects().create(key, std::move(object));
    if (!created && created.error().code() != Errc::already_exists) co_return fail(std::move(created.error()));
    co_return Result<void>();
  }

  awaitable<Result<void>> send_from_webhook(ObjectKey source, eventing::CloudEvent event) {
    return webhook_sources_.send(std::move(source), std::move(event));
  }

  awaitable<Result<void>> ensure_broker(std::string name_space, std::string name) {
    const auto key = key_of(model::broker_kind(), name_space, name);
    if (world_.objects().find(key)) co_return Result<void>();
    auto made = co_await control::ensure_broker(world_, std::move(name_space), std::move(name));
    if (!made) co_return made;
    // In force when we return: the first event is on its way.
    auto done = co_await reconcile_broker(world_, key);
    co_return done;
  }

  void certificate_changed(const std::string& host) { touch_found(world_.indexes.mappings_by_name, host); }

  BuildLogs& build_logs() { return world_.build_logs; }

 private:
  awaitable<Result<void>> reconcile(ObjectKey key) {
    const auto* kind = kind_of(key);
    if (!kind) return nothing();
    if (const auto object = world_.objects().find(key); object && is_being_deleted(*object))
      return go_on_deleting(world_, std::move(key), object);
    if (kind == &model::service_kind()) return reconcile_service(world_, std::move(key));
    if (kind == &model::configuration_kind()) return reconcile_configuration(world_, std::move(key));
    if (kind == &model::revision_kind()) return revisions_.reconcile(std::move(key));
    if (kind == &model::route_kind()) return routes_.reconcile(std::move(key));
    if (kind == &model::domain_mapping_kind()) return reconcile_domain_mapping(world_, std::move(key));
    if (kind == &model::broker_kind()) return reconcile_broker(world_, std::move(key));
    if (kind == &model::trigger_kind()) return reconcile_trigger(world_, std::move(key));
    if (kind == &model::in_memory_channel_kind()) return reconcile_in_memory_channel(world_, std::move(key));
    if (kind == &model::channel_kind()) return reconcile_channel(world_, std::move(key));
    if (kind == &model::subscription_kind()) return reconcile_subscription(world_, std::move(key));
    if (kind == &model::sequence_kind() || kind == &model::parallel_kind())
      return reconcile_flow(world_, *kind, std::move(key));
    if (kind == &model::ping_source_kind()) return pings_.reconcile(std::move(key));
    if (kind == &model::api_server_source_kind()) return api_server_sources_.reconcile(std::move(key));
    if (kind == &model::sink_binding_kind()) return reconcile_sink_binding(world_, std::move(key));
    if (kind == &model::job_sink_kind()) return reconcile_job_sink(world_, std::move(key));
    if (kind == &event_transform_kind()) return reconcile_event_transform(world_, std::move(key));
    if (kind == &integration_sink_kind()) return reconcile_integration_sink(world_, std::move(key));
    if (kind == &mqtt_source_kind()) return mqtt_links_.reconcile_source(std::move(key));
    if (kind == &mqtt_sink_kind()) return mqtt_links_.reconcile_sink(std::move(key));
    if (kind == &webhook_source_kind()) return webhook_sources_.reconcile(std::move(key));
    if (kind == &model::job_kind()) return jobs_.reconcile(std::move(key));
    if (kind == &model::container_source_kind()) return container_sources_.reconcile(std::move(key));
    if (kind == &model::event_policy_kind()) return reconcile_event_policy(world_, std::move(key));
    if (kind == &model::build_run_kind()) return build_runs_.reconcile(std::move(key));
    if (is_kept_only(*kind)) return reconcile_kept(world_, *kind, std::move(key));
    return nothing();
  }

  static awaitable<Result<void>> nothing() { co_return Result<void>(); }

  /// At most one timer a key that is any use: a later one than that which runs is left out.
  void enqueue_after(ObjectKey key, Duration delay) {
    const auto due = world_.with.clock.now() + delay;
    const auto [at, fresh] = later_.try_emplace(key, due);
    if (!fresh && at->second <= due) return;
    at->second = due;
    tasks_.spawn("later " + key.name, enqueue_at(std::move(key), due));
  }

  awaitable<void> enqueue_at(ObjectKey key, TimePoint due) {
    co_await world_.with.clock.sleep_until(due);
    if (const auto at = later_.find(key); at != later_.end() && at->second <= due) later_.erase(at);
    queue_.enqueue(std::move(key));
  }

  void on_change(const store::Change& change) {
    const auto* kind = kind_of(change.key);
    if (!kind) return;
    if (change.type == store::Change::Type::deleted) {
      if (kind == &model::revision_kind()) revisions_.forget(change.key);
      if (kind == &model::event_type_kind()) event_types_.forget(change.key);
      if (kind == &model::build_run_kind()) world_.build_logs.remove(uid_of(*change.object));
      tasks_.spawn("cascade " + change.key.name, cascade(world_, *kind, change.object));
    }
    // Its owner went while it was being made.
    if (change.type == store::Change::Type::added && !model::controller_uid(*change.object).empty() &&
        !is_owned(world_, *change.object))
      tasks_.spawn("orphan " + change.key.name, remove_owned(world_, change.key));
    publish(*kind, change);
    queue_.enqueue(change.key);
    api_server_sources_.on_change(*kind, change);
    if (kind == &model::config_map_kind() && EventTypes::is_flag(change.key)) features_changed();
    touch_dependents(*kind, change);
    if (kind == &model::secret_kind()) touch_certificates(change.key);
    if (kind == &model::secret_kind()) mqtt_links_.secret_changed(change.key);
    if (kind == &model::secret_kind()) touch_webhook_sources(change.key);
    if (kind == &model::secret_kind() || kind == &model::config_map_kind()) touch_readers(*kind, change.key);
  }

  void touch_webhook_sources(const ObjectKey& secret) {
    for (const auto& source : world_.objects().list(webhook_source_kind().resource(), secret.name_space))
      if (model::text_at(*source, {"spec", "secret", "ref", "name"}) == secret.name)
        queue_.enqueue(key_of(webhook_source_kind(), *source));
  }

  /// What is spoken over TLS by this Secret.
  void touch_certificates(const ObjectKey& secret) {
    for (const auto& mapping : world_.objects().list(model::domain_mapping_kind().resource(), secret.name_space))
      if (model::text_at(*mapping, {"spec", "tls", "secretName"}) == secret.name) {
        queue_.enqueue(key_of(model::domain_mapping_kind(), *mapping));
        show_https_soon();
      }
    if (!world_.objects().keys_by(world_.indexes.routes_by_client_ca, scoped(secret.name_space, secret.name)).empty())
      show_clients();
  }

  void touch_found(store::Objects::Index index, const std::string& value) {
    for (auto& key : world_.objects().keys_by(index, value)) queue_.enqueue(std::move(key));
  }

  /// Knative's feature flags for events.
  void features_changed() {
    event_types_.configure();
    tasks_.spawn("event access", configure_event_access());
  }

  awaitable<void> configure_event_access() {
    auto configured = co_await configure_access(world_);
    if (!configured) log::error("events are refused", {{"error", configured.error().what()}});
    for (const auto& kind : model::kinds())
      if (kind.stored &&
          (model::is_addressable(kind) || &kind == &model::event_policy_kind() || &kind == &model::trigger_kind() ||
           &kind == &model::subscription_kind() || is_source_group(kind.group)))
        for (const auto& object : world_.objects().list(kind.resource())) queue_.enqueue(key_of(kind, *object));
  }

  /// What a policy guards, and the policies that name this object, in whichever namespace.
  void touch_policies(const model::Kind& kind, const ObjectKey& key) {
    if (&kind == &model::event_policy_kind()) {
      for (const auto* guarded : {&model::broker_kind(), &model::in_memory_channel_kind(), &model::job_sink_kind(),
                                  &integration_sink_kind(), &mqtt_sink_kind(), &event_transform_kind()})
        for (const auto& object : world_.objects().list(guarded->resource(), key.name_space))
          queue_.enqueue(key_of(*guarded, *object));
      return;
    }
    const bool is_sender =
        is_source_group(kind.group) || &kind == &model::trigger_kind() || &kind == &model::subscription_kind();
    if (!is_sender && !model::is_addressable(kind)) return;
    for (const auto& policy : world_.objects().list(model::event_policy_kind().resource()))
      if (model::is_addressable(kind) ? namespace_of(*policy) == key.name_space
                                      : names(policy->at("spec"), kind.kind, key.name))
        queue_.enqueue(key_of(model::event_policy_kind(), *policy));
  }

  /// Who else looks at this object: its controller, and whoever refers to it by name.
  void touch_dependents(const model::Kind& kind, const store::Change& change) {
    const auto& key = change.key;
    if (const auto* owners = model::find_value(*change.object, {"metadata", "ownerReferences"});
        owners && owners->is_array())
      for (const auto& owner : owners->get_array())
        if (const auto* owner_kind = model::find_kind_by_name(model::text_at(owner.as_object(), {"apiVersion"}),
                                                              model::text_at(owner.as_object(), {"kind"})))
          queue_.enqueue(key_of(*owner_kind, key.name_space, model::text_at(owner.as_object(), {"name"})));
    touch_policies(kind, key);
    // A mapping may sit in another namespace than what holds its name.
    if (&kind == &model::service_kind() || &kind == &model::route_kind())
      touch_found(world_.indexes.mappings_by_target, key.name);
    if (&kind == &model::domain_mapping_kind()) touch_found(world_.indexes.mappings_by_name, key.name);
    const auto touch = [&](const model::Kind& other, auto&& refers) {
      for (const auto& object : world_.objects().list(other.resource(), key.name_space))
        if (refers(*object)) queue_.enqueue(key_of(other, *object));
    };
    if (&kind == &model::configuration_kind() || &kind == &model::revision_kind())
      touch_found(world_.indexes.routes_by_target, scoped(key.name_space, key.name));
    else if (&kind == &model::broker_kind())
      touch(model::trigger_kind(),
            [&](const json::object& trigger) { return model::text_at(trigger, {"spec", "broker"}) == key.name; });
    else if (&kind == &model::subscription_kind())
      queue_.enqueue(key_of(model::in_memory_channel_kind(), key.name_space,
                            model::text_at(*change.object, {"spec", "channel", "name"})));
    if (&kind == &model::in_memory_channel_kind())
      queue_.enqueue(key_of(model::channel_kind(), key.name_space, key.name));
    if (&kind == &model::sink_binding_kind())
      for (const auto* subject_kind : {&model::service_kind(), &model::configuration_kind()})
        touch(*subject_kind, [&](const json::object& subject) {
          return is_bound_by(subject, key.name) || binds(*change.object, *subject_kind, subject);
        });
    if (&kind == &model::configuration_kind())
      touch(model::sink_binding_kind(),
            [&](const json::object& binding) { return binds(binding, kind, *change.object); });
    if (&kind == &model::namespace_kind() && change.type != store::Change::Type::modified)
      for (const auto& source : world_.objects().list(model::api_server_source_kind().resource()))
        if (model::find_value(*source, {"spec", "namespaceSelector"}))
          queue_.enqueue(key_of(model::api_server_source_kind(), *source));
    touch(model::trigger_kind(), [&](const json::object& trigger) {
      return model::text_at(trigger, {"metadata", "annotations", dependency_annotation}).contains(key.name);
    });
    if (!model::is_addressable(kind)) return;
    const auto named = [&](const json::object& object) {
      const auto* spec = object.if_contains("spec");
      return spec && names(*spec, kind.kind, key.name);
    };
    for (const auto* other :
         {&model::trigger_kind(), &model::subscription_kind(), &model::broker_kind(), &model::in_memory_channel_kind(),
          &model::channel_kind(), &model::ping_source_kind(), &model::sink_binding_kind(),
          &model::api_server_source_kind(), &model::container_source_kind(), &mqtt_source_kind(),
          &webhook_source_kind(), &event_transform_kind()})
      touch(*other, named);
  }

  /// Revisions that read this Secret or ConfigMap.
  void touch_readers(const model::Kind& kind, const ObjectKey& key) {
    const auto which =
        &kind == &model::secret_kind() ? model::ValueObject::Kind::secret : model::ValueObject::Kind::config_map;
    for (const auto& revision : world_.objects().list(model::revision_kind().resource(), key.name_space))
      if (refers_to_values(*revision, which, key.name))
        revisions_.values_changed(key_of(model::revision_kind(), *revision));
  }

  using Running = std::vector<container::RunnerLauncher::Adopted>;

  awaitable<Running> still_running() {
    if (!world_.with.adopt) co_return Running();
    auto adopted = co_await world_.with.adopt();
    if (adopted) co_return std::move(*adopted);
    log::warn("no instance adopted", {{"error", adopted.error().what()}});
    co_return Running();
  }

  /// Takes what it adopts out of `running`. A revision gets its instances in the same turn of the loop in which its
  /// pool comes to be: one turn later the pool would start its minimum anew.
  awaitable<void> restore_revisions(Running& running) {
    for (const auto& revision : world_.objects().list(model::revision_kind().resource())) {
      if (model::find_condition(*revision, "Ready").status != model::Truth::yes) continue;
      const auto key = key_of(model::revision_kind(), *revision);
      auto restored = co_await revisions_.restore(key);
      if (!restored) {
        log::warn("revision not restored",
                  {{"revision", key.name_space + "/" + key.name}, {"error", restored.error().what()}});
        continue;
      }
      const serving::RevisionKey owner{key.name_space, key.name};
      std::erase_if(running, [&](const container::RunnerLauncher::Adopted& found) {
        if (found.owner != owner.text() || !world_.with.serving.adopt(owner, found.instance)) return false;
        log::info("instance adopted", {{"instance", found.instance->id().text()}, {"owner", found.owner}});
        return true;
      });
    }
  }

  /// What runs beside the revisions.
  void adopt_others(Running& running) {
    std::erase_if(running, [&](const container::RunnerLauncher::Adopted& found) {
      if (!jobs_.adopt(found.owner, found.instance) && !container_sources_.adopt(found.owner, found.instance))
        return false;
      log::info("instance adopted", {{"instance", found.instance->id().text()}, {"owner", found.owner}});
      return true;
    });
  }

  void stop_unknown(Running running) {
    for (auto& found : running) {
      log::info("instance of nobody stopped", {{"instance", found.instance->id().text()}, {"owner", found.owner}});
      tasks_.spawn("stop unknown instance", stop_instance(std::move(found.instance)));
    }
  }

  static awaitable<void> stop_instance(std::shared_ptr<container::Instance> instance) {
    co_await instance->stop(stop_unknown_grace);
  }

  void publish_all() {
    std::vector<serving::RouteChange> changes;
    for (const auto* kind : {&model::route_kind(), &model::domain_mapping_kind()})
      for (const auto& object : world_.objects().list(kind->resource()))
        gather(changes, *kind, key_of(*kind, *object), object.get());
    show_clients();
    world_.with.serving.change_routes(changes);
    if (world_.with.show_https) world_.with.show_https(https_hosts(world_));
  }

  /// In the turn in which the change is announced: nobody hears that a route is ready before it is.
  void publish(const model::Kind& kind, const store::Change& change) {
    const bool route = &kind == &model::route_kind();
    if (!route && &kind != &model::domain_mapping_kind()) return;
    std::vector<serving::RouteChange> changes;
    gather(changes, kind, change.key, change.type == store::Change::Type::deleted ? nullptr : change.object.get());
    if (route)
      for (const auto& mapping : world_.objects().keys_by(world_.indexes.mappings_by_target, change.key.name))
        gather(changes, model::domain_mapping_kind(), mapping, world_.objects().find(mapping).get());
    // A name that wants certificates of its clients never answers without.
    if (clients_shown_ || !world_.objects().keys_by(world_.indexes.routes_by_client_ca, any_client_ca).empty())
      show_clients();
    if (!changes.empty()) world_.with.serving.change_routes(changes);
    show_https_soon();
  }

  void gather(std::vector<serving::RouteChange>& changes, const model::Kind& kind, const ObjectKey& key,
              const json::object* object) {
    auto more = &kind == &model::route_kind() ? published_.set_route(key, object) : published_.set_mapping(key, object);
    std::ranges::move(more, std::back_inserter(changes));
  }

  void show_clients() {
    if (!world_.with.show_clients) return;
    auto hosts = client_hosts(world_);
    clients_shown_ = !hosts.empty();
    world_.with.show_clients(std::move(hosts));
  }

  void show_https_soon() {
    if (!world_.with.show_https || https_pending_) return;
    https_pending_ = true;
    tasks_.spawn("show https hosts", show_https_once());
  }

  /// Costs a look at all of them: takes a twentieth of the time at most while they change.
  awaitable<void> show_https_once() {
    auto& clock = world_.with.clock;
    if (clock.now() < https_not_before_) co_await clock.sleep_until(https_not_before_);
    https_pending_ = false;
    const auto begin = clock.now();
    world_.with.show_https(https_hosts(world_));
    https_not_before_ = clock.now() + 20 * (clock.now() - begin);
  }

  World world_;
  PublishedRoutes published_;
  RevisionReconciler revisions_;
  RouteReconciler routes_;
  BuildRunReconciler build_runs_;
  PingSources pings_;
  ApiServerSources api_server_sources_;
  EventTypes event_types_;
  Jobs jobs_;
  ContainerSources container_sources_;
  MqttLinks mqtt_links_;
  WebhookSources webhook_sources_;
  WorkQueue queue_;
  std::map<ObjectKey, TimePoint> later_;  // bounded by the objects there are
  store::Objects::Subscription subscription_;
  bool clients_shown_ = false;
  bool https_pending_ = false;
  TimePoint https_not_before_{};
  TaskGroup tasks_;
};

Control::Control(Collaborators collaborators, ControlOptions options)
    : impl_(std::make_unique<Impl>(std::move(collaborators), std::move(options))) {}
Control::~Control() = default;

awaitable<Result<void>> Control::start() { return impl_->start(); }
awaitable<void> Control::stop() { return impl_->stop(); }
void Control::certificate_changed(const std::string& host) { impl_->certificate_changed(host); }
BuildLogs& Control::build_logs() { return impl_->build_logs(); }
awaitable<Result<void>> Control::ensure_namespace(std::string name) { return impl_->ensure_namespace(std::move(name)); }
awaitable<Result<void>> Control::send_from_webhook(ObjectKey source, eventing::CloudEvent event) {
  return impl_->send_from_webhook(std::move(source), std::move(event));
}

awaitable<Result<void>> Control::ensure_broker(std::string name_space, std::string name) {
  return impl_->ensure_broker(std::move(name_space), std::move(name));
}

}  // namespace wick::control
