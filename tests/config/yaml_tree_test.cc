#include "config/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "drop/base/error.h"

namespace drop {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string error_of(const std::string& text) {
  try {
    parse_yaml(text, "f.yaml");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(YamlTree, KeepsOrderKindsQuotesAndLines) {
  const YamlNode root = parse_yaml("a: 1\n\nb:\n  c: \"2\"\n  d: [x, 'y']\n  e:\n", "f.yaml");
  ASSERT_EQ(root.kind, YamlNode::Kind::kMap);
  ASSERT_EQ(root.children.size(), 2u);
  EXPECT_EQ(root.children[0].key, "a");
  EXPECT_EQ(root.children[0].text, "1");
  EXPECT_FALSE(root.children[0].quoted);
  EXPECT_EQ(root.children[0].line, 1);
  const YamlNode& b = root.children[1];
  EXPECT_EQ(b.line, 3);
  ASSERT_EQ(b.children.size(), 3u);
  EXPECT_TRUE(b.children[0].quoted);
  EXPECT_EQ(b.children[0].line, 4);
  ASSERT_EQ(b.children[1].kind, YamlNode::Kind::kList);
  EXPECT_EQ(b.children[1].children[1].text, "y");
  EXPECT_EQ(b.children[2].kind, YamlNode::Kind::kNull);
}

TEST(YamlTree, RefusesWhatAConfigNeverHolds) {
  const struct {
    const char* text;
    const char* expected;
  } cases[] = {
      {"", "f.yaml: found an empty file"},
      {"# only a comment\n", "f.yaml: found an empty file"},
      {"a: 1\na: 2\n", "f.yaml:2: found the key 'a' again (first on line 1)"},
      {"a: 1\n\"a\": 2\n", "f.yaml:2: found the key 'a' again"},
      {"s:\n  b: 1\nt: 1\ns:\n  c: 2\n", "f.yaml:4: found the key 's' again (first on line 1)"},
      {"s: {b: 1, b: 2}\n", "f.yaml:1: found the key 'b' again"},
      {"a: &x 1\nb: *x\n", "f.yaml:1: found an anchor"},
      {"a: &x [*x]\n", "f.yaml:1: found an anchor"},
      {"a: &x {b: 1}\nc:\n  <<: *x\n", "f.yaml:1: found an anchor"},
      {"a: *unknown\n", "f.yaml:1: found what is no YAML"},
      {"a: !!int 3\n", "f.yaml:1: found the tag tag:yaml.org,2002:int"},
      {"a: !thing {b: 1}\n", "f.yaml:1: found the tag"},
      {"a: 1\n---\nb: 2\n", "f.yaml:2: found a second document"},
      {"a:\n\tb: 1\n", "f.yaml:2: found a tab as indentation"},
      {"a:\n  b: 1\n \tc: 1\n", "f.yaml:3: found a tab as indentation"},
      {"[a, b]: 1\n", "f.yaml:1: found a key that is no plain word"},
      {"? {a: 1}\n: 1\n", "f.yaml:1: found a key that is no plain word"},
      {"~: 1\n", "f.yaml:1: found a key that is no plain word"},
      {"a: 1\n  b: 2\n", "f.yaml:1: found a value that goes on in the next line"},
      {"a: [1, 2\n", "found what is no YAML"},
      // yaml-cpp closes an open quote at the end of the file, so that all later keys would be lost
      {"a: \"open\nb: 2\n", "f.yaml:1: found a quote that is not closed on its line"},
      {"a: 'open\nb: 2\n", "f.yaml:1: found a quote that is not closed on its line"},
      {"a: 'it''s\nb: 2\n", "f.yaml:1: found a quote that is not closed on its line"},
      {"a: \"x\\\"\nb: 2\n", "f.yaml:1: found a quote that is not closed on its line"},
      {"a: \"open", "f.yaml:1: found what is no YAML"},
      {"a: 1\nb: two\n  lines\n", "f.yaml:2: found a value that goes on in the next line"},
      {"a: |\n  two\n  lines\n", "f.yaml:1: found a value that goes on in the next line"},
      {"a: >\n  two\n  lines\n", "f.yaml:1: found a value that goes on in the next line"},
      {"a: 1\rb: 2\r", "f.yaml:1: found a control character (byte 13)"},
      {"a: 1\nb: \xff\n", "f.yaml:2: found broken UTF-8 (byte 255)"},
      {"a: \xc3", "f.yaml:1: found broken UTF-8"},
      {"a: 1: 2\n", "f.yaml:1: found what is no YAML"},
      {"a: [[[[[[[[[[[[1]]]]]]]]]]]]\n", "nested too deep"},
      // yaml-cpp takes this character for the end of the file and would drop line 3 in silence
      {"a: 1\n\x04\nb: 2\n", "f.yaml:2: found a control character (byte 4)"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(error_of(c.text), HasSubstr(c.expected)) << c.text;
    EXPECT_THAT(error_of(c.text), Not(HasSubstr("\n"))) << c.text;
  }
}

TEST(YamlTree, AcceptsWhatDoesNoHarm) {
  EXPECT_EQ(parse_yaml("a: 1\t# comment behind a tab\n", "f").children[0].text, "1");
  EXPECT_EQ(parse_yaml("\t# comment\na: 1\n", "f").children[0].text, "1");
  EXPECT_EQ(parse_yaml("\xef\xbb\xbf"
                       "a: \"1\"\n",
                       "f")
                .children[0]
                .text,
            "1");
  EXPECT_EQ(parse_yaml("---\na: 1\n...\n", "f").children[0].text, "1");
  // quotes and columns behind characters of several bytes
  const YamlNode root = parse_yaml("{\xc3\xbc: '\xe2\x82\xac it''s', b: \"\\\"\", c: x y}\n", "f");
  EXPECT_EQ(root.children[0].text, "\xe2\x82\xac it's");
  EXPECT_EQ(root.children[1].text, "\"");
  EXPECT_EQ(root.children[2].text, "x y");
  EXPECT_EQ(parse_yaml("a: 1\r\nb: 2\r\n", "f").children[1].text, "2");
}

TEST(YamlTree, ACommandLineHasNoLines) {
  EXPECT_EQ(parse_yaml("[1, 2]", "--set a=[1, 2]", false).children[0].line, 0);
  try {
    parse_yaml("[1, 2", "--set a=[1, 2", false);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), ::testing::StartsWith("--set a=[1, 2: found "));
  }
}

TEST(YamlTree, HostileSizesEndInAnErrorAndSoon) {
  const size_t size = 1024 * 1024;
  EXPECT_THAT(error_of(std::string(size, '[')), HasSubstr("f.yaml"));
  EXPECT_THAT(error_of(std::string(size, '{')), HasSubstr("f.yaml"));
  std::string nested;
  std::string wide = "a: [";
  std::string keys;
  for (size_t i = 0; nested.size() < size / 8; ++i) nested += "- ";
  for (size_t i = 0; wide.size() < size; ++i) wide += "1,";
  for (size_t i = 0; keys.size() < size; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  EXPECT_THAT(error_of(nested), HasSubstr("nested too deep"));
  EXPECT_THAT(error_of(wide + "]\n"), HasSubstr("found more than"));
  EXPECT_THAT(error_of(keys), HasSubstr("found more than"));
}

TEST(YamlTree, MessagesShowCutAndCleanText) {
  EXPECT_EQ(printable("a\nb\tc"), "a b c");
  const std::string cut = printable(std::string(59, 'x') + "\xc3\xa9 and more");
  EXPECT_EQ(cut, std::string(59, 'x') + "...") << "a character of two bytes is not halved";
  EXPECT_EQ(location("f.yaml", 3), "f.yaml:3");
  EXPECT_EQ(location("--set a=b", 0), "--set a=b");
}

}  // namespace
}  // namespace drop
