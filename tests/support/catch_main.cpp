#include "support/run_catch.hpp"

// Linked where a program has no main of its own.
int main(int argc, char** argv) { return run_catch(argc, argv); }
