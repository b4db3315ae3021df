#include "wick/eventing/eventing.hpp"

#include <fmt/format.h>

#include "dispatcher.hpp"
#include "explain.hpp"
#include "gate.hpp"
#include "ingress.hpp"
#include "journal.hpp"
#include "log.hpp"
#include "wick/base/text.hpp"

namespace wick::eventing {

namespace json = boost::json;

class Eventing::Impl {
 public:
  Impl(Executor executor, Clock& clock, store::Database& database, Metrics& metrics, Deliver deliver, Limits limits)
      : log(executor, clock, database, {.waiting_bytes_max = limits.waiting_bytes_max}),
        journal(limits.records_kept),
        dispatcher(executor, clock, database, log, journal, metrics, std::move(deliver), limits),
        gate(clock),
        ingress(clock, log, dispatcher, gate, metrics, limits),
        database(database),
        clock(clock) {}

  Log log;
  Journal journal;
  Dispatcher dispatcher;
  Gate gate;
  Ingress ingress;
  store::Database& database;
  Clock& clock;
};

Eventing::Eventing(Executor executor, Clock& clock, store::Database& database, Metrics& metrics, Deliver deliver,
                   Limits limits)
    : impl_(std::make_unique<Impl>(executor, clock, database, metrics, std::move(deliver), limits)) {}

Eventing::~Eventing() = default;

std::vector<std::string_view> Eventing::migrations() { return Log::migrations(); }

void Eventing::set_broker(BrokerSpec broker) { impl_->dispatcher.set_broker(std::move(broker)); }

void Eventing::remove_broker(const std::string& name_space, const std::string& name) {
  impl_->dispatcher.remove_broker(name_space + "/" + name);
}

void Eventing::set_trigger(TriggerSpec trigger) { impl_->dispatcher.set_trigger(std::move(trigger)); }

void Eventing::remove_trigger(const std::string& name_space, const std::string& name) {
  impl_->dispatcher.remove_trigger(name_space + "/" + name);
}

std::string channel_stream(std::string_view channel) { return "channels/" + std::string(channel); }
std::string subscription_trigger(std::string_view subscription) { return "subscriptions/" + std::string(subscription); }
std::string reply_stream(std::string_view subscription) { return "replies/" + std::string(subscription); }

std::string source_stream(std::string_view kind, std::string_view source) {
  return fmt::format("sources/{}/{}", to_lower(kind), source);
}

awaitable<Result<void>> Eventing::emit(std::string stream, CloudEvent event, std::optional<SourceMark> mark,
                                       Sender sender) {
  return impl_->ingress.emit(std::move(stream), std::move(event), std::move(mark), std::move(sender));
}

void Eventing::set_sink(SinkSpec sink) { impl_->ingress.set_sink(std::move(sink)); }
void Eventing::remove_sink(const std::string& name_space, const std::string& name) {
  impl_->ingress.remove_sink(name_space + "/" + name);
}
void Eventing::on_status_request(std::function<http::Response(const std::string&)> answer) {
  impl_->ingress.on_status_request(std::move(answer));
}

void Eventing::set_access(AccessSettings settings) { impl_->gate.set(std::move(settings)); }
void Eventing::set_access_rules(const std::string& name_space, const std::string& name, AccessRules rules) {
  impl_->gate.set_rules(name_space + "/" + name, std::move(rules));
}
void Eventing::remove_access_rules(const std::string& name_space, const std::string& name) {
  impl_->gate.remove_rules(name_space + "/" + name);
}

Result<std::string> Eventing::make_sender_token(std::string subject, std::string audience,
                                                std::chrono::seconds lifetime) const {
  const auto& settings = impl_->gate.settings();
  if (!settings.enabled || settings.token_key.empty())
    return fail(Errc::unsupported, "senders are not asked who they are: the feature authentication-oidc is disabled",
                "set authentication-oidc: enabled in the ConfigMap config-features of the namespace knative-eventing");
  const auto now = impl_->clock.wall();
  return sign_sender_token(
      {.subject = std::move(subject), .audience = std::move(audience), .issued = now, .expires = now + lifetime},
      settings.token_key);
}

awaitable<Result<void>> Eventing::set_mark(SourceMark mark) {
  auto work = Log::put_mark(std::move(mark.source), mark.at);
  co_return co_await impl_->database.write(std::move(work));
}

std::optional<WallTime> Eventing::mark_of(const std::string& source) const { return impl_->log.mark_of(source); }

awaitable<Result<void>> Eventing::forget_mark(std::string source) {
  auto work = Log::remove_mark(std::move(source));
  co_return co_await impl_->database.write(std::move(work));
}

awaitable<bool> Eventing::await_trigger(std::string name_space, std::string name, milliseconds limit) {
  return impl_->dispatcher.await_trigger(name_space + "/" + name, limit);
}

bool Eventing::serves(std::string_view host) const {
  return !sink_folder_at(host).empty() || !impl_->dispatcher.stream_at(host).empty();
}

awaitable<Result<http::Response>> Eventing::send(Destination destination, http::Request request, milliseconds limit) {
  return impl_->dispatcher.send(std::move(destination), std::move(request), limit);
}

awaitable<std::optional<http::Response>> Eventing::accept(http::Request request, Sender sender) {
  return impl_->ingress.accept(std::move(request), std::move(sender));
}

http::Handler Eventing::ingress(Sender sender) {
  return [impl = impl_.get(), sender = std::move(sender)](http::Exchange& exchange) {
    return impl->ingress.handle(exchange, sender);
  };
}

awaitable<void> Eventing::tail(std::string name_space, std::string broker, std::size_t count,
                               std::function<bool(const EventRecord&)> on_record) {
  return impl_->journal.follow(name_space + "/" + broker, count, std::move(on_record));
}

void Eventing::on_accepted(std::function<void(const std::string&, const CloudEvent&)> callback) {
  impl_->dispatcher.on_accepted(std::move(callback));
}

void Eventing::on_broken_disk(std::function<void()> callback) { impl_->log.on_broken(std::move(callback)); }
std::uint64_t Eventing::damaged() const { return impl_->log.damaged(); }

std::map<std::string, std::size_t> Eventing::pending() const { return impl_->dispatcher.pending(); }

awaitable<Result<json::object>> Eventing::why(std::string name_space, std::string event_id) {
  return explain(impl_->log, impl_->dispatcher, impl_->journal, std::move(name_space), std::move(event_id));
}

awaitable<json::array> Eventing::list(std::string name_space, std::string broker, std::uint64_t after,
                                      std::size_t count) {
  return list_events(impl_->log, name_space + "/" + broker, after, count);
}

json::array Eventing::dead_letters(const std::string& name_space, std::size_t count) const {
  return list_dead_letters(impl_->log, name_space, count);
}

awaitable<Result<int>> Eventing::redrive(std::string name_space, std::string trigger,
                                         std::optional<std::uint64_t> position) {
  const std::string name = name_space + "/" + trigger;
  auto count = std::make_shared<int>(0);
  auto work = Log::redrive(name, position, impl_->clock.wall(), count);
  auto written = co_await impl_->database.write(std::move(work));
  if (!written) co_return fail(std::move(written.error()));
  impl_->dispatcher.wake(name);
  co_return *count;
}

awaitable<Result<int>> Eventing::purge(std::string name_space, std::string trigger,
                                       std::optional<std::uint64_t> position) {
  auto count = std::make_shared<int>(0);
  auto work = Log::purge(name_space + "/" + trigger, position, count);
  auto written = co_await impl_->database.write(std::move(work));
  if (!written) co_return fail(std::move(written.error()));
  co_return *count;
}

awaitable<Result<void>> Eventing::replay(std::string name_space, std::string trigger, std::uint64_t first,
                                         std::uint64_t last) {
  return impl_->dispatcher.replay(name_space + "/" + trigger, first, last);
}

awaitable<void> Eventing::stop(milliseconds grace) { return impl_->dispatcher.stop(grace); }

}  // namespace wick::eventing
