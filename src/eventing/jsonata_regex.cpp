#include "eventing/jsonata_regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include "eventing/jsonata_value.hpp"

namespace wick::eventing::jsonata {

namespace {

struct FreePattern {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

std::string pcre_message(int code) {
  PCRE2_UCHAR buffer[200] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

Regex::Regex(std::string pattern, std::string_view flags) : pattern_(std::move(pattern)) {
  const std::unique_ptr<pcre2_compile_context, FreePattern> context(pcre2_compile_context_create(nullptr));
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_ANYCRLF);
  pcre2_set_parens_nest_limit(context.get(), 100);
  std::uint32_t options = PCRE2_UTF | PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
                          PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C;
  if (flags.find('i') != flags.npos) options |= PCRE2_CASELESS;
  if (flags.find('m') != flags.npos) options |= PCRE2_MULTILINE;
  int error = 0;
  PCRE2_SIZE place = 0;
  auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern_.data()), pattern_.size(), options, &error, &place,
                             context.get());
  if (!code)
    throw Fault{.code = "S0303",
                .token = pattern_,
                .detail = fmt::format("the regular expression is wrong at its character {}: {}", place + 1,
                                      pcre_message(error))};
  code_.reset(code, [](void* held) { pcre2_code_free(static_cast<pcre2_code*>(held)); });
}

std::optional<Regex::Match> Regex::find(std::string_view subject, std::size_t from) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_context, FreePattern> context(pcre2_match_context_create(nullptr));
  const std::unique_ptr<pcre2_match_data, FreePattern> data(pcre2_match_data_create_from_pattern(code, nullptr));
  if (!context || !data) throw std::bad_alloc();
  pcre2_set_match_limit(context.get(), match_steps_max);
  pcre2_set_depth_limit(context.get(), depth_max);
  pcre2_set_heap_limit(context.get(), heap_kibibytes_max);
  // Once a subject was looked at from its start, its bytes are known to be UTF-8.
  const int count = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), from,
                                from == 0 ? 0 : PCRE2_NO_UTF_CHECK, data.get(), context.get());
  if (count == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (count < 0)
    throw Fault{
        .code = "D1012",
        .token = pattern_,
        .detail = fmt::format("the regular expression /{}/ takes too long here: {}", pattern_, pcre_message(count))};
  const auto* places = pcre2_get_ovector_pointer(data.get());
  std::uint32_t groups = 0;
  pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &groups);
  Match match{.start = places[0], .end = places[1], .groups = {}};
  for (std::uint32_t group = 1; group <= groups; ++group)
    if (static_cast<int>(group) < count && places[2 * group] != PCRE2_UNSET)
      match.groups.emplace_back(std::pair(places[2 * group], places[2 * group + 1]));
    else
      match.groups.emplace_back(std::nullopt);
  return match;
}

}  // namespace wick::eventing::jsonata
