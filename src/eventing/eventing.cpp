#include "wick/eventing/eventing.hpp"

#include "dispatcher.hpp"
#include "ingress.hpp"
#include "journal.hpp"
#include "log.hpp"

namespace wick::eventing {

class Eventing::Impl {
 public:
  Impl(Executor executor, Clock& clock, store::Database& database, Metrics& metrics, Deliver deliver, Limits limits)
      : log(database),
        journal(limits.records_kept),
        dispatcher(executor, clock, database, log, journal, metrics, std::move(deliver), limits),
        ingress(clock, log, dispatcher, metrics, limits) {}

  Log log;
  Journal journal;
  Dispatcher dispatcher;
  Ingress ingress;
};

Eventing::Eventing(Executor executor, Clock& clock, store::Database& database, Metrics& metrics, Deliver deliver,
                   Limits limits)
    : impl_(std::make_unique<Impl>(executor, clock, database, metrics, std::move(deliver), limits)) {}

Eventing::~Eventing() = default;

std::vector<std::string_view> Eventing::migrations() { return {Log::schema()}; }

void Eventing::set_broker(BrokerSpec broker) { impl_->dispatcher.set_broker(std::move(broker)); }

void Eventing::remove_broker(const std::string& name_space, const std::string& name) {
  impl_->dispatcher.remove_broker(name_space + "/" + name);
}

void Eventing::set_trigger(TriggerSpec trigger) { impl_->dispatcher.set_trigger(std::move(trigger)); }

void Eventing::remove_trigger(const std::string& name_space, const std::string& name) {
  impl_->dispatcher.remove_trigger(name_space + "/" + name);
}

http::Handler Eventing::ingress() {
  return [impl = impl_.get()](http::Exchange& exchange) { return impl->ingress.handle(exchange); };
}

awaitable<void> Eventing::tail(std::string name_space, std::string broker, std::size_t count,
                               std::function<bool(const EventRecord&)> on_record) {
  return impl_->journal.follow(name_space + "/" + broker, count, std::move(on_record));
}

std::map<std::string, std::size_t> Eventing::pending() const { return impl_->dispatcher.pending(); }

awaitable<void> Eventing::stop(milliseconds grace) { return impl_->dispatcher.stop(grace); }

}  // namespace wick::eventing
