// The config reader: as a file, and as an override of the command line. What is accepted must come
// back from its own resolved text.

#include "drop/base/error.h"
#include "drop/config/config.h"
#include "fuzz/fuzz_support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  drop::fuzz::tally.accepted +=
      drop::fuzz::expect_read_or_refused<drop::UsageError>("fuzz.yaml", [&] {
        const std::string resolved = drop::to_yaml(drop::parse_config(text, "fuzz.yaml"));
        std::string again;
        try {
          again = drop::to_yaml(drop::parse_config(resolved, "resolved.yaml"));
        } catch (const drop::UsageError& error) {
          drop::fuzz::report_finding(std::string("a resolved config is refused: ") + error.what());
        }
        if (again != resolved) drop::fuzz::report_finding("a resolved config reads as another one");
      });
  drop::fuzz::expect_read_or_refused<drop::UsageError>(
      "", [&] { drop::parse_config("{}", "fuzz.yaml", {text}); });
  return 0;
}
