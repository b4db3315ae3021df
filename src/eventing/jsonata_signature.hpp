// What a function takes: "<s-nn?:s>" is text (or the context), a number and perhaps another.
//
//   s n b l o f  text, number, boolean, null, object, function     a<n>  an array (of numbers), or one of them
//   j x          any JSON, anything                                (sn)  one of these
//   -            the context where nothing is given                ?  +  may be left out; one or more
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eventing/jsonata_value.hpp"

namespace wick::eventing::jsonata {

class Signature {
 public:
  /// Throws Fault S0401 or S0402, with `position` from the start of the text.
  explicit Signature(std::string_view text);

  /// The arguments as the function gets them: the context filled in, arrays made of single values. Throws Fault T0410,
  /// T0411 or T0412.
  std::vector<Value> fit(std::vector<Value> given, const Value& context) const;

 private:
  struct Parameter {
    std::string letters;  // of the values that fit
    char kind = 0;        // as written; '(' for a choice
    std::string of;       // <…>
    bool takes_context = false, optional = false, repeats = false;
  };
  struct Search;
  bool matches(Search& search, std::size_t letter, std::size_t parameter) const;
  Value fit_array(const Parameter& parameter, Value value, char letter, std::size_t count, std::size_t index) const;

  std::vector<Parameter> parameters_;
};

}  // namespace wick::eventing::jsonata
