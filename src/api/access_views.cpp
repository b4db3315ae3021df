#include "api/access_views.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "api/answer.hpp"
#include "api/protobuf.hpp"
#include "api/routes.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

constexpr std::size_t question_bytes_max = 64 << 10;
constexpr std::uint64_t audit_rows_max = 10'000;
constexpr std::uint64_t ttl_seconds_max = 10ull * 366 * 24 * 3600;

awaitable<Result<json::object>> read_question(http::Exchange& exchange) {
  auto body = co_await exchange.read_all(question_bytes_max);
  if (!body) co_return fail(std::move(body.error()));
  if (exchange.head().fields.find("Content-Type").value_or("").starts_with(protobuf_type)) {
    auto object = parse_protobuf(*body);
    co_return object;
  }
  boost::system::error_code error;
  auto value = json::parse(*body, error);
  if (error || !value.is_object()) co_return fail(Errc::invalid, "the body is not a JSON object");
  co_return std::move(value.get_object());
}

json::object to_json(const Token& token) {
  json::object object{{"id", token.id},
                      {"name", token.name},
                      {"scope", to_string(token.scope)},
                      {"created", to_rfc3339(token.created)}};
  if (!token.name_space.empty()) object["namespace"] = token.name_space;
  if (token.expires) object["expires"] = to_rfc3339(*token.expires);
  return object;
}

/// The HTTP method that stands for one of Kubernetes' verbs.
std::string_view method_of(std::string_view verb) {
  if (verb == "get" || verb == "list" || verb == "watch") return "GET";
  if (verb == "create") return "POST";
  if (verb == "update") return "PUT";
  if (verb == "patch") return "PATCH";
  return "DELETE";
}

}  // namespace

awaitable<void> create_token(Tokens& tokens, Clock& clock, http::Exchange& exchange) {
  auto question = co_await read_question(exchange);
  if (!question) {
    co_await respond_error(exchange, question.error());
    co_return;
  }
  auto scope = parse_scope(model::text_at(*question, {"scope"}));
  if (!scope) {
    co_await respond_error(exchange, scope.error());
    co_return;
  }
  const auto now = clock.wall();
  Token wanted{.id = {},
               .name = model::text_at(*question, {"name"}),
               .scope = *scope,
               .name_space = model::text_at(*question, {"namespace"}),
               .created = now,
               .expires = std::nullopt,
               .hash = {}};
  if (const auto ttl = model::integer_at(*question, {"ttlSeconds"}); ttl > 0)
    wanted.expires =
        now + std::chrono::seconds(std::min<std::uint64_t>(static_cast<std::uint64_t>(ttl), ttl_seconds_max));
  auto made = co_await tokens.create(std::move(wanted), now);
  if (!made) {
    co_await respond_error(exchange, made.error());
    co_return;
  }
  auto answer = to_json(made->token);
  answer["token"] = made->secret;
  co_await respond_json(exchange, 201, answer);
}

awaitable<void> list_tokens(const Tokens& tokens, http::Exchange& exchange) {
  json::array list;
  for (const auto& token : tokens.list()) list.push_back(to_json(token));
  co_await respond_json(exchange, 200, list);
}

awaitable<void> revoke_token(Tokens& tokens, http::Exchange& exchange, std::string id) {
  auto revoked = co_await tokens.revoke(std::move(id));
  if (revoked)
    co_await respond_json(exchange, 200, json::object{{"kind", "Status"}, {"apiVersion", "v1"}, {"status", "Success"}});
  else
    co_await respond_error(exchange, revoked.error());
}

awaitable<void> show_audit(const Audit& audit, http::Exchange& exchange) {
  const auto limit = parse_unsigned(http::query_value(exchange.head().query(), "limit").value_or("100")).value_or(100);
  auto rows = audit.newest(static_cast<std::size_t>(std::min(limit, audit_rows_max)));
  auto broken = audit.first_broken();
  if (!rows || !broken) {
    co_await respond_error(exchange, rows ? broken.error() : rows.error());
    co_return;
  }
  co_await respond_json(exchange, 200, json::object{{"rows", std::move(*rows)}, {"firstBroken", *broken}});
}

awaitable<void> review_access(const Caller& caller, http::Exchange& exchange) {
  auto question = co_await read_question(exchange);
  if (!question) {
    co_await respond_error(exchange, question.error());
    co_return;
  }
  Need need{.scope = Scope::read, .name_space = {}, .everywhere = false};
  if (const auto* asked = model::find_value(*question, {"spec", "resourceAttributes"}); asked && asked->is_object()) {
    const auto text = [&](std::string_view key) { return model::text_at(asked->get_object(), {key}); };
    const auto verb = text("verb");
    const model::Kind* found = nullptr;
    for (const auto& kind : model::kinds())
      if (kind.plural == text("resource") && kind.group == text("group")) found = &kind;
    need.name_space = text("namespace");
    need.everywhere = need.name_space.empty();
    if (verb == "*" || text("resource") == "*")
      need.scope = Scope::admin;
    else if (found)
      need.scope = scope_of(*found, method_of(verb), text("subresource"));
    else
      need.scope = method_of(verb) == "GET" ? Scope::read : Scope::deploy;
  }
  const auto why = refusal(caller, need);
  auto answer = *question;
  answer["kind"] = "SelfSubjectAccessReview";
  answer["apiVersion"] = "authorization.k8s.io/v1";
  json::object status{{"allowed", why.empty()}};
  if (!why.empty()) status["reason"] = why;
  answer["status"] = std::move(status);
  co_await respond_json(exchange, 201, answer);
}

awaitable<void> review_self(const Caller& caller, http::Exchange& exchange) {
  const json::object user{{"username", caller.user}, {"groups", {to_string(caller.scope)}}};
  co_await respond_json(exchange, 201,
                        json::object{{"kind", "SelfSubjectReview"},
                                     {"apiVersion", "authentication.k8s.io/v1"},
                                     {"metadata", {{"creationTimestamp", nullptr}}},
                                     {"status", {{"userInfo", user}}}});
}

}  // namespace wick::api
