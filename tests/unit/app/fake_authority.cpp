#include "fake_authority.hpp"

#include <openssl/core_names.h>
#include <openssl/param_build.h>

namespace wick::app::acme {

namespace json = boost::json;

namespace {

const std::string base = "https://ca.test/";

std::string member(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

}  // namespace

bool verifies(const std::string& x, const std::string& y, std::string_view bytes, std::string_view signature) {
  if (signature.size() != 64) return false;
  const auto point = "\x04" + x + y;
  OSSL_PARAM_BLD* builder = OSSL_PARAM_BLD_new();
  OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
  OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size());
  OSSL_PARAM* parameters = OSSL_PARAM_BLD_to_param(builder);
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr);
  EVP_PKEY* made = nullptr;
  EVP_PKEY_fromdata_init(context);
  EVP_PKEY_fromdata(context, &made, EVP_PKEY_PUBLIC_KEY, parameters);
  const Openssl<EVP_PKEY> key(made);
  EVP_PKEY_CTX_free(context);
  OSSL_PARAM_free(parameters);
  OSSL_PARAM_BLD_free(builder);
  const Openssl<ECDSA_SIG> pair(ECDSA_SIG_new());
  const auto* numbers = reinterpret_cast<const unsigned char*>(signature.data());
  ECDSA_SIG_set0(pair.get(), BN_bin2bn(numbers, 32, nullptr), BN_bin2bn(numbers + 32, 32, nullptr));
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(pair.get(), &der);
  const Openssl<EVP_MD_CTX> digest(EVP_MD_CTX_new());
  EVP_DigestVerifyInit(digest.get(), nullptr, EVP_sha256(), nullptr, key.get());
  const bool good = EVP_DigestVerify(digest.get(), der, static_cast<std::size_t>(size),
                                     reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()) == 1;
  OPENSSL_free(der);
  return good;
}

FakeAuthority::FakeAuthority(Clock& clock) : clock_(clock), key_(new_key().value()) {}

Call FakeAuthority::call() {
  return [this](std::string url, http::Request request) { return answer(std::move(url), std::move(request)); };
}

http::Response FakeAuthority::respond(int status, const json::value& body, std::string location) {
  const auto nonce = "nonce-" + std::to_string(++next_nonce_);
  nonces_.insert(nonce);
  http::Response response{.head = {.status = status, .fields = {{"Replay-Nonce", nonce}}},
                          .body = body.is_string() ? std::string(body.get_string()) : json::serialize(body)};
  if (!location.empty()) response.head.fields.add("Location", std::move(location));
  return response;
}

http::Response FakeAuthority::problem(int status, const std::string& type, const std::string& detail) {
  return respond(status, json::object{{"type", "urn:ietf:params:acme:error:" + type}, {"detail", detail}});
}

awaitable<Result<http::Response>> FakeAuthority::answer(std::string url, http::Request request) {
  ++calls;
  if (down || (fail_call > 0 && --fail_call == 0)) co_return fail(Errc::unavailable, "connect: Connection refused");
  if (answers_nonsense) co_return http::Response{.head = {}, .body = "<html>"};
  user_agent = request.head.fields.find("User-Agent").value_or("");
  if (!url.starts_with(base)) co_return fail(Errc::invalid, "no such host");
  const auto path = url.substr(base.size());
  if (path == "dir")
    co_return http::Response{
        .head = {},
        .body = json::serialize(json::object{
            {"newNonce", base + "nonce"},
            {"newAccount", base + "account"},
            {"newOrder", base + "order"},
            {"meta", {{"termsOfService", base + "terms"}, {"externalAccountRequired", wants_external_account}}}})};
  if (path == "nonce") co_return respond(200, "");
  const auto jws = json::parse(request.body).as_object();
  const auto header = json::parse(from_base64url(member(jws, "protected"))).as_object();
  const auto payload_text = from_base64url(member(jws, "payload"));
  if (request.head.fields.find("Content-Type") != "application/jose+json" || member(header, "url") != url ||
      member(header, "alg") != "ES256")
    co_return problem(400, "malformed", "header");
  if (nonces_.erase(member(header, "nonce")) == 0 || bad_nonces > 0) {
    if (bad_nonces > 0) --bad_nonces;
    co_return problem(400, "badNonce", "JWS has an invalid anti-replay nonce");
  }
  const auto account = member(header, "kid");
  if (!account.empty() && !keys_.contains(account)) co_return problem(400, "accountDoesNotExist", "unknown account");
  const auto jwk = account.empty() ? json::serialize(header.at("jwk")) : keys_.at(account);
  const auto key = json::parse(jwk).as_object();
  if (!verifies(from_base64url(member(key, "x")), from_base64url(member(key, "y")),
                member(jws, "protected") + "." + member(jws, "payload"), from_base64url(member(jws, "signature"))))
    co_return problem(400, "malformed", "signature");
  const auto payload = payload_text.empty() ? json::object{} : json::parse(payload_text).as_object();
  if (path == "account") {
    if (!payload.at("termsOfServiceAgreed").as_bool()) co_return problem(403, "userActionRequired", "terms");
    if (wants_external_account && !is_bound(payload, jwk))
      co_return problem(403, "unauthorized", "the binding is not ours");
    if (payload.contains("contact")) contact = payload.at("contact").as_array().at(0).as_string();
    const auto made = base + "account/" + std::to_string(++accounts);
    keys_[made] = jwk;
    co_return respond(201, json::object{{"status", "valid"}}, made);
  }
  if (account.empty()) co_return problem(400, "malformed", "no kid");
  co_return resource(path, payload, jwk);
}

/// RFC 8555 7.3.4.
bool FakeAuthority::is_bound(const json::object& payload, const std::string& jwk) {
  const auto* binding = payload.if_contains("externalAccountBinding");
  if (!binding) return false;
  const auto& jws = binding->as_object();
  const auto header = from_base64url(member(jws, "protected"));
  const auto fields = json::parse(header).as_object();
  external_account = member(fields, "kid");
  return member(fields, "alg") == "HS256" && member(fields, "url") == base + "account" && !fields.contains("nonce") &&
         json::parse(from_base64url(member(jws, "payload"))) == json::parse(jwk) &&
         mac_jws(header, from_base64url(member(jws, "payload")), external_key) == json::serialize(jws);
}

http::Response FakeAuthority::resource(const std::string& path, const json::object& payload,
                                       const std::string& account_key) {
  if (path == "order") return make_order(payload);
  const auto parts = split(path, '/');
  const auto number = std::string(parts.at(1));
  if (parts[0] == "order") return show_order(number);
  if (parts[0] == "authorization") return show_authorization(number);
  if (parts[0] == "challenge") return begin_challenge(number, std::string(parts.at(2)), account_key);
  if (parts[0] == "finalize") return finalize(number, payload);
  if (parts[0] == "certificate") return respond(200, json::value(entries_.at(number).chain));
  return problem(404, "malformed", path);
}

http::Response FakeAuthority::make_order(const json::object& payload) {
  if (rate_limited > 0) {
    --rate_limited;
    auto response = problem(429, "rateLimited", "too many certificates");
    response.head.fields.add("Retry-After", retry_after);
    return response;
  }
  const auto number = std::to_string(++orders);
  auto& entry = entries_[number];
  entry.host = payload.at("identifiers").as_array().at(0).at("value").as_string();
  if (authorizations_are_valid) entry.authorization_status = "valid";
  auto response = show_order(number);
  response.head.status = 201;
  response.head.fields.add("Location", base + "order/" + number);
  return response;
}

http::Response FakeAuthority::show_order(const std::string& number) {
  auto& entry = entries_.at(number);
  if (entry.status == "pending" && entry.authorization_status == "valid") entry.status = "ready";
  if (entry.status == "processing" && entry.issue_polls-- <= 0) entry.status = "valid";
  json::object order{{"status", entry.status},
                     {"authorizations", json::array{base + "authorization/" + number}},
                     {"finalize", base + "finalize/" + number}};
  if (entry.status == "valid") order["certificate"] = base + "certificate/" + number;
  if (entry.status == "invalid")
    order["error"] = {{"type", "urn:ietf:params:acme:error:caa"}, {"detail", "CAA record forbids it"}};
  return respond(200, order);
}

http::Response FakeAuthority::show_authorization(const std::string& number) {
  auto& entry = entries_.at(number);
  if (entry.authorization_status == "processing" && entry.polls-- <= 0) entry.authorization_status = "valid";
  json::array challenges;
  for (const auto& type : offered) {
    json::object challenge{{"type", type},
                           {"url", base + "challenge/" + number + "/" + type},
                           {"token", "token-" + number},
                           {"status", "pending"}};
    if (entry.authorization_status == "invalid" && entry.tried == type) {
      challenge["status"] = "invalid";
      challenge["error"] = {{"type", "urn:ietf:params:acme:error:connection"}, {"detail", "203.0.113.9: refused"}};
    }
    challenges.push_back(challenge);
  }
  const auto shown = entry.authorization_status == "processing" ? "pending" : entry.authorization_status;
  return respond(200, json::object{{"status", shown},
                                   {"identifier", {{"type", "dns"}, {"value", entry.host}}},
                                   {"challenges", challenges}});
}

http::Response FakeAuthority::begin_challenge(const std::string& number, const std::string& type,
                                              const std::string& account_key) {
  auto& entry = entries_.at(number);
  entry.tried = type;
  proven_by.push_back(type);
  const auto wanted = "token-" + number + "." + jwk_thumbprint(account_key);
  const bool seen = !looks || looks(type, entry.host, wanted);
  entry.authorization_status = seen ? "processing" : "invalid";
  if (!seen) entry.status = "invalid";
  entry.polls = polls_before_valid;
  return respond(200, json::object{{"status", "processing"}});
}

http::Response FakeAuthority::finalize(const std::string& number, const json::object& payload) {
  auto& entry = entries_.at(number);
  if (entry.status != "ready") return problem(403, "orderNotReady", "the order is not ready");
  if (refuses_finalize) {
    entry.status = "invalid";
    return show_order(number);
  }
  entry.chain = sign(from_base64url(member(payload, "csr")), certificate_is_for_another ? "other.test" : entry.host);
  entry.status = "processing";
  entry.issue_polls = polls_before_issued;
  ++issued;
  return respond(200, json::object{{"status", "processing"},
                                   {"authorizations", json::array{base + "authorization/" + number}},
                                   {"finalize", base + "finalize/" + number}});
}

std::string FakeAuthority::sign(const std::string& csr_der, const std::string& host) {
  const auto* at = reinterpret_cast<const unsigned char*>(csr_der.data());
  const Openssl<X509_REQ> request(d2i_X509_REQ(nullptr, &at, static_cast<long>(csr_der.size())));
  if (!request || X509_REQ_verify(request.get(), X509_REQ_get0_pubkey(request.get())) != 1) return "bad request";
  const Openssl<X509> certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++next_nonce_);
  std::time_t begin = std::chrono::floor<seconds>(clock_.wall()).time_since_epoch().count();
  X509_time_adj_ex(X509_getm_notBefore(certificate.get()), 0, 0, &begin);
  X509_time_adj_ex(X509_getm_notAfter(certificate.get()), 0, life.count(), &begin);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("fake"), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
  X509_set_pubkey(certificate.get(), X509_REQ_get0_pubkey(request.get()));
  auto* name = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, ("DNS:" + host).c_str());
  X509_add_ext(certificate.get(), name, -1);
  X509_EXTENSION_free(name);
  X509_sign(certificate.get(), key_.get(), EVP_sha256());
  return to_pem(certificate.get());
}

}  // namespace wick::app::acme
