// `wick helper NAME …`: the short-lived children that read hostile bytes. Not for people.
#pragma once

namespace wick::app {

int helper_main(int argc, char** argv);

}  // namespace wick::app
