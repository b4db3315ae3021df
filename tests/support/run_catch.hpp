// Catch's runner, compiled once, for programs that are more than their tests and have a main of their own.
#pragma once

/// The exit code. As Catch::Session().run().
int run_catch(int argc, char** argv);
