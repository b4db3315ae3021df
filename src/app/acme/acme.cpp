#include "app/acme/acme.hpp"

#include "app/acme/key.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::app::acme {

namespace {

constexpr std::size_t authority_bytes_max = 1 << 20;
constexpr std::size_t external_key_bytes_max = 4 << 10;

IssuerDoors issuer_doors(AcmeDoors& doors, Transport& transport, Challenges& challenges) {
  return {.executor = doors.executor,
          .clock = doors.clock,
          .workers = doors.workers,
          .metrics = doors.metrics,
          .call = [&transport](std::string url,
                               http::Request request) { return transport.call(std::move(url), std::move(request)); },
          .challenges = challenges,
          .show = std::move(doors.show),
          .changed = std::move(doors.changed),
          .look_up = std::move(doors.look_up)};
}

/// What the authority gave out beside the account's name.
Result<std::string> read_external_key(const std::filesystem::path& file) {
  auto text = read_file(file, external_key_bytes_max);
  if (!text) return fail(std::move(text.error()).hint("the user wick runs as must be able to read it"));
  auto key = base64url_decode(trim(*text));
  if (!key || key->empty())
    return fail(Errc::invalid, file.string() + ": expected one line of base64url, as the authority gives it out");
  return std::move(*key);
}

}  // namespace

Result<std::unique_ptr<Acme>> Acme::open(AcmeDoors doors, AcmeOptions options) {
  std::string authority;
  if (!options.authority.empty()) {
    auto pem = read_file(options.authority, authority_bytes_max);
    if (!pem)
      return fail(std::move(pem.error()).within("--acme-ca").hint("the user wick runs as must be able to read it"));
    authority = std::move(*pem);
  }
  if (!options.external_account_key.empty()) {
    auto key = read_external_key(options.external_account_key);
    if (!key) return fail(std::move(key.error()).within("--acme-eab-key"));
    options.issuing.session.external_account.key = std::move(*key);
  }
  auto transport = Transport::open(doors.executor, doors.clock, authority);
  if (!transport) return fail(std::move(transport.error()).within("--acme-ca " + options.authority.string()));
  auto store = Store::open(options.folder, options.issuing.session.directory);
  if (!store) return fail(std::move(store.error()));
  return std::unique_ptr<Acme>(
      new Acme(std::move(doors), std::move(options), std::move(*transport), std::move(*store)));
}

Acme::Acme(AcmeDoors doors, AcmeOptions options, std::unique_ptr<Transport> transport, Store store)
    : transport_(std::move(transport)),
      challenges_(doors.executor, doors.clock, std::move(doors.show_challenges), std::move(options.hook)),
      issuer_(issuer_doors(doors, *transport_, challenges_), std::move(options.issuing), std::move(store)) {}

}  // namespace wick::app::acme
