// `wick helper NAME …`: the short-lived children that read hostile bytes. Not for people.
#pragma once

namespace wick::app {

/// argv as main got it: `wick helper NAME …`.
int helper_main(int argc, char** argv);

}  // namespace wick::app
