#include "drop/base/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace drop {
namespace {

TEST(JsonText, IndentsAndEndsTheLine) {
  EXPECT_EQ(json_text({{"b", 1}, {"a", "text"}}), "{\n  \"b\": 1,\n  \"a\": \"text\"\n}\n");
}

TEST(JsonText, BytesThatAreNoUtf8BecomeTheReplacementCharacter) {
  EXPECT_EQ(json_text({{"path", "runs/\xff"}}), "{\n  \"path\": \"runs/\xEF\xBF\xBD\"\n}\n");
}

}  // namespace
}  // namespace drop
