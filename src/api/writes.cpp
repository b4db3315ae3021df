// create, replace, patch and apply: what a client sends becomes an object that was checked, against the one it changes.
#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "api/answer.hpp"
#include "api/patches.hpp"
#include "api/resources.hpp"
#include "wick/base/text.hpp"
#include "wick/eventing/transform.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/field_errors.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/yaml.hpp"

namespace wick::api {

namespace {

constexpr int write_attempts = 5;  // of a patch that names no version, against other writers

std::unexpected<Error> no_namespace(std::string_view name) {
  return fail(Errc::invalid, fmt::format("\"{}\" is not a namespace's name", printable(name)));
}

/// Kubernetes' "Invalid" status: for kinds without a webhook of Knative's.
std::string invalid_message(const model::Kind& kind, const json::object& object, std::string_view complaint) {
  return fmt::format("{} \"{}\" is invalid: {}", kind.kind, model::text_at(object, {"metadata", "name"}), complaint);
}

/// Of an EventTransform, whose language the model does not know: an expression that does not parse.
Result<void> check_expressions(const model::Kind& kind, const json::object& object) {
  if (kind.resource() != "eventtransforms.eventing.knative.dev") return {};
  const std::pair<std::string_view, const json::value*> all[] = {
      {"spec.jsonata.expression", model::find_value(object, {"spec", "jsonata", "expression"})},
      {"spec.reply.jsonata.expression", model::find_value(object, {"spec", "reply", "jsonata", "expression"})}};
  for (const auto& [path, expression] : all) {
    if (!expression || !expression->is_string()) continue;
    const auto parsed = eventing::Transform::parse(std::string_view(expression->get_string()));
    if (parsed) continue;
    model::FieldErrors errors;
    errors.invalid_value(printable(std::string_view(expression->get_string())), std::string(path),
                         parsed.error().what());
    return fail(Errc::invalid,
                fmt::format("admission webhook \"validation.{}\" denied the request: validation failed: {}",
                            kind.webhook, errors.text()),
                "the language is described at https://docs.jsonata.org");
  }
  return {};
}

}  // namespace

awaitable<void> Resources::refuse(const Call& call, Refusal refusal) {
  const auto subject = Subject::of(call.kind, call.path.name);
  if (refusal.status == 0) {
    co_await respond_error(call.exchange, refusal.error, subject);
    co_return;
  }
  auto status = status_object(refusal.status, refusal.reason, refusal.error, {});
  if (!refusal.causes.empty()) {
    json::object details{{"name", subject.name}, {"kind", subject.plural}};
    if (!subject.group.empty()) details["group"] = subject.group;
    details["causes"] = std::move(refusal.causes);
    status["details"] = std::move(details);
  }
  co_await respond_json(call.exchange, refusal.status, status);
}

std::expected<json::object, Resources::Refusal> Resources::admit(const Call& call, json::object object,
                                                                 const json::object* old,
                                                                 std::vector<std::string>& warnings) {
  const auto refused = [](Error error) { return std::unexpected(Refusal{0, {}, std::move(error), {}}); };
  const auto* own = model::find_value(object, {"metadata", "managedFields"});
  // A client may replace the record of fields, or empty it with [{}]; otherwise it is carried on.
  json::value fields = own ? *own : json::value();
  if (!own && old)
    if (const auto* before = model::find_value(*old, {"metadata", "managedFields"})) fields = *before;
  auto settled = settle_identity(object, call);
  if (!settled) return refused(std::move(settled.error()));
  auto unknown = check_fields(object, call);
  if (!unknown) return refused(std::move(unknown.error()));
  for (auto& complaint : *unknown) warnings.push_back(std::move(complaint));
  model::to_stored(call.kind, object);
  const auto* stored = model::find_stored_kind(call.kind.resource());
  const auto& kind = stored ? *stored : call.kind;
  if (kind.has_status) {
    object.erase("status");
    if (const auto* status = old ? old->if_contains("status") : nullptr) object["status"] = *status;
  }
  auto admitted = model::admit(kind, std::move(object), {.old = old, .user = call.user, .policy = policy_});
  if (!admitted) {
    if (kind.webhook.empty() && admitted.error().code() == Errc::invalid)
      return std::unexpected(
          Refusal{422,
                  "Invalid",
                  Error(Errc::invalid, invalid_message(kind, json::object{{"metadata", {{"name", call.path.name}}}},
                                                       admitted.error().message())),
                  {}});
    return refused(std::move(admitted.error()));
  }
  if (auto parsed = check_expressions(kind, *admitted); !parsed) return refused(std::move(parsed.error()));
  auto& metadata = model::object_at(*admitted, {"metadata"});
  if (fields.is_array())
    metadata["managedFields"] = std::move(fields);
  else
    metadata.erase("managedFields");
  return std::move(*admitted);
}

awaitable<void> Resources::create(Call call) {
  auto read = co_await read_object(call);
  if (!read) {
    co_await respond_error(call.exchange, read.error());
    co_return;
  }
  model::object_at(*read, {"metadata"}).erase("resourceVersion");
  model::object_at(*read, {"metadata"}).erase("managedFields");
  call.path.name = model::text_at(*read, {"metadata", "name"});
  const bool generated = call.path.name.empty();
  const auto prefix = model::text_at(*read, {"metadata", "generateName"});
  std::vector<std::string> warnings;
  auto admitted = admit(call, std::move(*read), nullptr, warnings);
  if (!admitted) {
    co_await refuse(call, std::move(admitted.error()));
    co_return;
  }
  const auto& schema = model::schema_of(call.kind);
  model::object_at(*admitted, {"metadata"})["managedFields"] =
      after_update(nullptr, *admitted, schema, call.manager(clock_));
  if (call.is_dry_run()) {
    auto& metadata = model::object_at(*admitted, {"metadata"});
    if (generated) metadata["name"] = prefix + random_suffix();
    const bool taken = objects_.find(key_of(call.kind, *admitted)) != nullptr;
    if (taken)
      co_await respond_error(call.exchange, Error(Errc::already_exists, "taken"),
                             Subject::of(call.kind, call.path.name));
    else
      co_await answer(call, 201, *admitted, std::move(warnings));
    co_return;
  }
  if (call.kind.namespaced) {
    auto ensured = is_dns_label(call.path.name_space) ? co_await ensure_namespace_(call.path.name_space)
                                                      : Result<void>(no_namespace(call.path.name_space));
    if (!ensured) {
      co_await respond_error(call.exchange, ensured.error());
      co_return;
    }
  }
  for (int attempt = 1;; ++attempt) {
    if (generated) model::object_at(*admitted, {"metadata"})["name"] = prefix + random_suffix();
    call.path.name = model::text_at(*admitted, {"metadata", "name"});
    auto created = co_await objects_.create(call.key(), *admitted);
    if (created) {
      co_await answer(call, 201, **created, std::move(warnings));
      co_return;
    }
    if (generated && created.error().code() == Errc::already_exists && attempt < write_attempts) continue;
    co_await respond_error(call.exchange, created.error(), Subject::of(call.kind, call.path.name));
    co_return;
  }
}

awaitable<void> Resources::change(Call call, std::uint64_t expected, Absent absent, Change change) {
  const auto subject = Subject::of(call.kind, call.path.name);
  for (int attempt = 1;; ++attempt) {
    const auto old = objects_.find(call.key());
    if (!old && (absent == Absent::is_error || expected != 0)) {
      co_await respond_error(call.exchange, Error(Errc::not_found, "not found"), subject);
      co_return;
    }
    if (old && expected != 0 && expected != version_of(*old)) {
      co_await respond_error(call.exchange, Error(Errc::conflict, "another version"), subject);
      co_return;
    }
    const auto before = old ? std::optional(in_version(call.kind, *old)) : std::nullopt;
    auto changed = change(before ? &*before : nullptr);
    if (!changed) {
      co_await refuse(call, std::move(changed.error()));
      co_return;
    }
    std::vector<std::string> warnings;
    auto admitted = admit(call, std::move(changed->object), old.get(), warnings);
    if (!admitted) {
      co_await refuse(call, std::move(admitted.error()));
      co_return;
    }
    if (changed->fields == FieldRecord::to_update)
      model::object_at(*admitted, {"metadata"})["managedFields"] =
          after_update(old.get(), *admitted, model::schema_of(call.kind), call.manager(clock_));
    if (call.is_dry_run()) {
      if (old) {
        auto& metadata = model::object_at(*admitted, {"metadata"});
        for (const auto key : {"uid", "creationTimestamp", "resourceVersion", "generation"})
          if (const auto* value = model::find_value(*old, {"metadata", key})) metadata[key] = *value;
      }
      co_await answer(call, old ? 200 : 201, *admitted, std::move(warnings));
      co_return;
    }
    if (!old && call.kind.namespaced) {
      auto ensured = co_await ensure_namespace_(call.path.name_space);
      if (!ensured) {
        co_await respond_error(call.exchange, ensured.error());
        co_return;
      }
    }
    // What was checked was checked against `old`: another version is another question.
    Result<ObjectValue> written = fail(Errc::internal, "not written");
    if (old)
      written = co_await objects_.update(call.key(), std::move(*admitted), version_of(*old));
    else
      written = co_await objects_.create(call.key(), std::move(*admitted));
    if (written) {
      co_await answer(call, old ? 200 : 201, **written, std::move(warnings));
      co_return;
    }
    const auto code = written.error().code();
    const bool lost_a_race = code == Errc::conflict || code == Errc::already_exists;
    if (expected == 0 && lost_a_race && attempt < write_attempts) continue;
    co_await respond_error(call.exchange, written.error(), subject);
    co_return;
  }
}

awaitable<void> Resources::replace(Call call) {
  auto read = co_await read_object(call);
  if (!read) {
    co_await respond_error(call.exchange, read.error());
    co_return;
  }
  const auto uid = model::text_at(*read, {"metadata", "uid"});
  const auto expected = version_of(*read);
  // A body that is about something else is a mistake, whatever is or is not there.
  auto named = *read;
  if (auto settled = settle_identity(named, call); !settled) {
    co_await respond_error(call.exchange, settled.error());
    co_return;
  }
  auto put = [object = std::move(*read), uid](const json::object* old) -> std::expected<Changed, Refusal> {
    const auto own = model::text_at(*old, {"metadata", "uid"});
    if (!uid.empty() && uid != own)
      return std::unexpected(Refusal{
          409,
          "Conflict",
          Error(Errc::conflict, fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}",
                                            printable(uid), own)),
          {}});
    return Changed{object};
  };
  co_await change(std::move(call), expected, Absent::is_error, std::move(put));
}

namespace {

constexpr std::string_view merge_type = "application/merge-patch+json";
constexpr std::string_view json_type = "application/json-patch+json";
constexpr std::string_view strategic_type = "application/strategic-merge-patch+json";
constexpr std::string_view apply_type = "application/apply-patch+yaml";

bool is_core(const model::Kind& kind) { return kind.group.empty(); }

std::string conflicts_message(const std::vector<Conflict>& conflicts) {
  std::string text =
      fmt::format("Apply failed with {} conflict{}: ", conflicts.size(), conflicts.size() == 1 ? "" : "s");
  text += fmt::format("conflict{} with \"{}\" using {}:", conflicts.size() == 1 ? "" : "s", conflicts[0].manager,
                      conflicts[0].api_version);
  for (const auto& conflict : conflicts)
    text += fmt::format("{} {}", conflicts.size() == 1 ? "" : "\n-", conflict.field);
  return text;
}

}  // namespace

awaitable<void> Resources::patch(Call call) {
  const auto type = call.media_type();
  const bool strategic = type == strategic_type && is_core(call.kind);
  if (type != merge_type && type != json_type && type != apply_type && !strategic) {
    co_await respond_failure(call.exchange, 415, "UnsupportedMediaType",
                             fmt::format("the body of the request was in an unknown format ({}) - accepted media types "
                                         "include: {}, {}, {}{}{}",
                                         printable(type), json_type, merge_type, apply_type,
                                         is_core(call.kind) ? ", " : "", is_core(call.kind) ? strategic_type : ""));
    co_return;
  }
  auto read = co_await read_body(call);
  if (!read) {
    co_await respond_error(call.exchange, read.error());
    co_return;
  }
  const auto refuse_with = [](Error error) { return std::unexpected(Refusal{0, {}, std::move(error), {}}); };
  if (type == apply_type) {
    const auto* wanted = read->if_object();
    if (!wanted || call.query("fieldManager").empty()) {
      co_await refuse(call, {422,
                             "Invalid",
                             Error(Errc::invalid, wanted ? "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: "
                                                           "Required value: is required for apply patch"
                                                         : "an apply patch is an object"),
                             {}});
      co_return;
    }
    if (const auto* fields = model::find_value(*wanted, {"metadata", "managedFields"});
        fields && !(fields->is_array() && fields->get_array().empty())) {
      co_await respond_error(call.exchange, Error(Errc::invalid, "metadata.managedFields must be nil"));
      co_return;
    }
    const auto expected = version_of(*wanted);
    const auto on_conflict = call.asks("force") ? OnConflict::take : OnConflict::report;
    auto apply = [this, &call, object = *wanted, on_conflict,
                  refuse_with](const json::object* old) -> std::expected<Changed, Refusal> {
      auto config = object;
      if (auto settled = settle_identity(config, call); !settled) return refuse_with(std::move(settled.error()));
      if (auto known = check_fields(config, call); !known) return refuse_with(std::move(known.error()));
      auto applied = apply_fields(old, config, model::schema_of(call.kind), call.manager(clock_), on_conflict,
                                  [&call](json::object& settled) { model::apply_defaults(call.kind, settled); });
      if (!applied.conflicts.empty()) {
        json::array causes;
        for (const auto& conflict : applied.conflicts)
          causes.push_back(
              {{"reason", "FieldManagerConflict"},
               {"message", fmt::format("conflict with \"{}\" using {}", conflict.manager, conflict.api_version)},
               {"field", conflict.field}});
        return std::unexpected(
            Refusal{409, "Conflict", Error(Errc::conflict, conflicts_message(applied.conflicts)), std::move(causes)});
      }
      return Changed{std::move(applied.object), FieldRecord::settled};
    };
    auto same_call = call;
    co_await change(std::move(same_call), expected, Absent::is_created, std::move(apply));
    co_return;
  }
  const auto expected = read->is_object() ? version_of(read->get_object()) : 0;
  auto merge = [body = std::move(*read), type, strategic,
                refuse_with](const json::object* old) -> std::expected<Changed, Refusal> {
    json::value patched(*old);
    Result<void> done;
    if (type == json_type)
      done = json_patch(patched, body);
    else if (strategic)
      done = strategic_merge_patch(patched, body);
    else
      merge_patch(patched, body);
    if (!done && type == json_type) return std::unexpected(Refusal{422, "Invalid", std::move(done.error()), {}});
    if (!done) return refuse_with(std::move(done.error()));
    if (!patched.is_object()) return refuse_with(Error(Errc::invalid, "the patched object is no object"));
    return Changed{std::move(patched.get_object())};
  };
  co_await change(std::move(call), expected, Absent::is_error, std::move(merge));
}

awaitable<void> Resources::write_status(Call call) {
  const auto type = call.media_type();
  const bool is_patch = call.exchange.head().method == "PATCH";
  auto read = co_await read_body(call);
  if (!read) {
    co_await respond_error(call.exchange, read.error());
    co_return;
  }
  const auto subject = Subject::of(call.kind, call.path.name);
  const auto old = objects_.find(call.key());
  if (!old) {
    co_await respond_error(call.exchange, Error(Errc::not_found, "not found"), subject);
    co_return;
  }
  json::value next(in_version(call.kind, *old));
  Result<void> done;
  if (!is_patch || type == merge_type)
    merge_patch(next, *read);
  else if (type == json_type)
    done = json_patch(next, *read);
  else
    done = fail(Errc::invalid, fmt::format("a status is patched with {} or {}", merge_type, json_type));
  const auto expected = read->is_object() ? version_of(read->get_object()) : 0;
  if (done && !next.is_object()) done = fail(Errc::invalid, "the body is not an object");
  if (done && expected != 0 && expected != version_of(*old)) done = fail(Errc::conflict, "another version");
  if (!done) {
    co_await respond_error(call.exchange, done.error(), subject);
    co_return;
  }
  const auto* given = is_patch ? &next.get_object() : read->if_object();
  const auto* status = given ? given->if_contains("status") : nullptr;
  auto written =
      call.is_dry_run() || !status ? Result<ObjectValue>(old) : co_await objects_.update_status(call.key(), *status);
  if (written)
    co_await answer(call, 200, **written);
  else
    co_await respond_error(call.exchange, written.error(), subject);
}

}  // namespace wick::api
