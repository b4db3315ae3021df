// The kinds of the model as REST resources: get, list, watch, create, replace, patch, apply, delete. Reading works on a
// Collection, which is the object table or a view; only what is in the table can be written.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "api/collection.hpp"
#include "api/representation.hpp"
#include "api/resource_request.hpp"
#include "wick/http/handler.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/resource.hpp"
#include "wick/os/clock.hpp"
#include "wick/store/objects.hpp"

namespace wick::api {

/// The event a watcher was told last, as the line it was told: the next watcher of the same change gets the same line.
struct LastEvent {
  ObjectValue object;
  const model::Kind* kind = nullptr;
  std::string type;
  std::shared_ptr<const std::string> line;
};

class Resources {
 public:
  using EnsureNamespace = std::function<awaitable<Result<void>>(std::string)>;
  /// `objects` and `clock` outlive it.
  Resources(store::Objects& objects, Clock& clock, EnsureNamespace ensure_namespace,
            model::AdmissionPolicy policy = {});

  /// A kind that is no part of the model and can only be read.
  void add_view(const model::Kind& kind, ViewCollection::Look look);
  /// Of the model or a view; nullptr when unknown.
  const model::Kind* find_kind(const ResourcePath& path) const;
  /// Every kind, views included.
  std::vector<const model::Kind*> kinds() const;
  bool is_view(const model::Kind& kind) const;
  Collection& collection(const model::Kind& kind);

  awaitable<void> handle(http::Exchange& exchange, const model::Kind& kind, ResourcePath path, std::string user);

 private:
  /// What a list that came in parts was of: the parts after the first are of the same state.
  struct Snapshot {
    std::string id;
    std::vector<ObjectValue> objects;
    std::uint64_t version = 0;
  };
  static constexpr std::size_t snapshots_max = 16;

  awaitable<void> get(Call call);
  awaitable<void> list(Call call);
  awaitable<void> watch(Call call);
  awaitable<void> create(Call call);
  awaitable<void> replace(Call call);
  awaitable<void> patch(Call call);
  awaitable<void> write_status(Call call);
  awaitable<void> remove(Call call);
  awaitable<void> remove_collection(Call call);

  /// One attempt of a change: what the object shall be, from what it is (nullptr: it is not there). The error is
  /// answered as it stands.
  struct Refusal {
    int status = 0;  // 0: as the error's code says
    std::string reason;
    Error error;
    json::array causes;
  };
  enum class FieldRecord { to_update, settled };  // settled: managedFields are as they shall be
  struct Changed {
    json::object object;
    FieldRecord fields = FieldRecord::to_update;
  };
  using Change = std::function<std::expected<Changed, Refusal>(const json::object* old)>;
  enum class Absent { is_error, is_created };
  /// Makes the change, again when another writer was faster and `expected` is 0; answers.
  awaitable<void> change(Call call, std::uint64_t expected, Absent absent, Change change);
  std::expected<json::object, Refusal> admit(const Call& call, json::object object, const json::object* old,
                                             std::vector<std::string>& warnings);
  awaitable<void> refuse(const Call& call, Refusal refusal);
  awaitable<void> answer(const Call& call, int status, const json::object& object,
                         std::vector<std::string> warnings = {});
  awaitable<Result<ObjectValue>> request_removal(ObjectKey key, json::object options);
  awaitable<Result<json::object>> delete_options(const Call& call);

  /// The stored object as this kind's version has it.
  json::object in_version(const model::Kind& kind, const json::object& stored) const;

  store::Objects& objects_;
  Clock& clock_;
  EnsureNamespace ensure_namespace_;
  model::AdmissionPolicy policy_;
  std::map<const model::Kind*, std::unique_ptr<Collection>> collections_;
  std::vector<const model::Kind*> views_;
  std::deque<Snapshot> snapshots_;
  LastEvent last_event_;
};

}  // namespace wick::api
