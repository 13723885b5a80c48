// Words of texts counted, and byte-pair merges learned from counted words.
//
// The cutting is that of the regular expressions in models/pre_tokenizers.py, written out; what is a letter, a number or
// a space is told by a table that Python makes with the library whose results these must equal. The merging follows that
// library's own algorithm, its quirks included: of two pairs as frequent the one with the smaller numbers comes first,
// and a text that is a token already gets no second number. Nothing here checks its arguments: the callers in Python do.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

enum Class : uint8_t { OTHER, LETTER, NUMBER, SPACE };
enum Cut : int32_t { GPT2, SMOLLM, QWEN2, LLAMA3 };
constexpr uint8_t CLASS = 3, DIGIT = 4;  // the lower bits of the table; cut out alone by smollm

struct Character {
  uint32_t code;
  int size;
};

inline Character decode(const uint8_t* at) {
  const uint32_t first = at[0];
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (at[1] & 0x3Fu), 2};
  if (first < 0xF0) return {(first & 0xF) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu), 3};
  return {(first & 7) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu), 4};
}

inline bool is_newline(uint8_t byte) { return byte == '\r' || byte == '\n'; }

struct Scanner {
  const uint8_t* table;
  Cut cut;

  uint8_t kind(const uint8_t* at, int& size) const {
    const Character c = decode(at);
    size = c.size;
    return table[c.code] & CLASS;
  }

  bool is_digit(const uint8_t* at, int& size) const {
    const Character c = decode(at);
    size = c.size;
    return table[c.code] & DIGIT;
  }

  const uint8_t* run(const uint8_t* at, const uint8_t* end, uint8_t wanted, int most = INT32_MAX) const {
    int size;
    while (most-- > 0 && at < end && kind(at, size) == wanted) at += size;
    return at;
  }

  // 's 't 're 've 'm 'll 'd; where the case does not matter, the long s is an s.
  const uint8_t* contraction(const uint8_t* at, const uint8_t* end) const {
    const bool any_case = cut == QWEN2 || cut == LLAMA3;
    const auto letter = [&](int place) -> int {
      if (at + place >= end) return 0;
      const uint8_t byte = at[place];
      return any_case && byte >= 'A' && byte <= 'Z' ? byte + 32 : byte;
    };
    const int first = letter(1), second = first ? letter(2) : 0;
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
    if (any_case && first == 0xC5 && second == 0xBF) return at + 3;
    if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
    return first == 'l' && second == 'l' ? at + 3 : nullptr;
  }

  // Where the word ends that begins here.
  const uint8_t* word(const uint8_t* at, const uint8_t* end) const {
    if (*at == '\'')
      if (const uint8_t* after = contraction(at, end)) return after;
    int size, next_size;
    const uint8_t first = kind(at, size);
    const uint8_t* next = at + size;
    if (cut == GPT2 || cut == SMOLLM) {
      if (first != SPACE) return run(next, end, first);
      if (*at == ' ' && next < end) {
        const uint8_t second = kind(next, next_size);
        if (second != SPACE) return run(next, end, second);
      }
      return spaces(at, end);
    }
    if (first == LETTER) return run(next, end, LETTER);
    if (first == NUMBER) return run(next, end, NUMBER, cut == LLAMA3 ? 2 : 0);
    const uint8_t second = next < end ? kind(next, next_size) : uint8_t(OTHER);
    if (next < end && second == LETTER && !is_newline(*at)) return run(next, end, LETTER);
    if (first == OTHER || (*at == ' ' && next < end && second == OTHER)) {
      const uint8_t* after = run(next, end, OTHER);
      while (after < end && is_newline(*after)) ++after;
      return after;
    }
    const uint8_t* stop = run(next, end, SPACE);
    for (const uint8_t* last = stop; last > at; --last)
      if (is_newline(last[-1])) return last;
    return spaces(at, end);
  }

  // Spaces but the last, which belongs to the word that follows; all of them at the end, and a single one.
  const uint8_t* spaces(const uint8_t* at, const uint8_t* end) const {
    const uint8_t *last = at, *here = at;
    int size;
    while (here < end && kind(here, size) == SPACE) last = here, here += size;
    return here == end || last == at ? here : last;
  }

  template <typename Take>
  void words(const uint8_t* at, const uint8_t* end, Take take) const {
    while (at < end) {
      int size = 0;
      const uint8_t* stop = cut == SMOLLM ? at : end;
      while (stop < end && !is_digit(stop, size)) stop += size;
      while (at < stop) {
        const uint8_t* after = word(at, stop);
        take(at, after);
        at = after;
      }
      if (at < end) take(at, at + size), at += size;
    }
  }
};

struct Counter {
  struct Word {
    uint64_t hash;
    size_t start;
    int64_t count;
    uint32_t size;
  };
  Scanner scanner;
  std::vector<uint8_t> table;
  std::vector<uint8_t> bytes;
  std::vector<Word> words;
  std::vector<uint32_t> slots = std::vector<uint32_t>(1 << 16, 0);  // 1 + the word's number

  void add(const uint8_t* at, uint32_t size) {
    uint64_t hash = 0x9E3779B97F4A7C15u ^ size;
    uint32_t left = size;
    const uint8_t* here = at;
    for (; left >= 8; left -= 8, here += 8) hash = mix(hash, load(here, 8));
    if (left) hash = mix(hash, load(here, left));
    for (size_t slot = hash & (slots.size() - 1);; slot = (slot + 1) & (slots.size() - 1)) {
      if (!slots[slot]) {
        slots[slot] = uint32_t(words.size()) + 1;
        words.push_back({hash, bytes.size(), 1, size});
        bytes.insert(bytes.end(), at, at + size);
        if (words.size() * 2 > slots.size()) grow();
        return;
      }
      Word& word = words[slots[slot] - 1];
      if (word.hash == hash && word.size == size && !std::memcmp(&bytes[word.start], at, size)) {
        ++word.count;
        return;
      }
    }
  }

  static uint64_t load(const uint8_t* at, uint32_t size) {
    uint64_t value = 0;
    std::memcpy(&value, at, size);
    return value;
  }

  static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0xFF51AFD7ED558CCDu;
    return hash ^ hash >> 32;
  }

  void grow() {
    slots.assign(slots.size() * 2, 0);
    for (size_t number = 0; number < words.size(); ++number) {
      size_t slot = words[number].hash & (slots.size() - 1);
      while (slots[slot]) slot = (slot + 1) & (slots.size() - 1);
      slots[slot] = uint32_t(number) + 1;
    }
  }
};

// Two neighbours as one number, which sorts as the two of them do.
using Pair = uint64_t;

inline Pair pair_of(int32_t left, int32_t right) { return uint64_t(uint32_t(left)) << 32 | uint32_t(right); }

// How often each pair stands in the words, and the words where it was found since it was last put into the queue.
struct Pairs {
  struct Entry {
    Pair pair;
    int64_t count;
    std::vector<uint32_t>* words;
  };
  std::vector<Entry> entries;
  std::vector<uint32_t> slots = std::vector<uint32_t>(1 << 16, 0);  // 1 + the entry's number

  uint32_t number_of(Pair pair) {
    for (size_t slot = first_slot(pair);; slot = (slot + 1) & (slots.size() - 1)) {
      if (!slots[slot]) {
        entries.push_back({pair, 0, nullptr});
        slots[slot] = uint32_t(entries.size());
        if (entries.size() * 2 > slots.size()) grow();
        return uint32_t(entries.size()) - 1;
      }
      if (entries[slots[slot] - 1].pair == pair) return slots[slot] - 1;
    }
  }

  size_t first_slot(Pair pair) const { return Counter::mix(0x9E3779B97F4A7C15u, pair) & (slots.size() - 1); }

  void grow() {
    slots.assign(slots.size() * 2, 0);
    for (size_t number = 0; number < entries.size(); ++number) {
      size_t slot = first_slot(entries[number].pair);
      while (slots[slot]) slot = (slot + 1) & (slots.size() - 1);
      slots[slot] = uint32_t(number) + 1;
    }
  }
};

// A pair to be merged, its count when it was last looked at, and the words where it was found.
struct Merge {
  int64_t count;
  Pair pair;
  uint32_t entry;
  std::vector<uint32_t>* words;
};

struct Later {
  bool operator()(const Merge& a, const Merge& b) const {
    return a.count != b.count ? a.count < b.count : a.pair > b.pair;
  }
};

struct Learner {
  std::vector<int32_t> symbols;  // of all words, one after the other; a word shrinks in its place
  const int64_t* starts;
  std::vector<int32_t> sizes;
  const int64_t* counts;
  Pairs pairs;
  std::vector<uint32_t> found;  // entries that have words
  std::priority_queue<Merge, std::vector<Merge>, Later> queue;
  std::vector<std::string> names;
  std::unordered_map<std::string, int32_t> numbers;
  std::vector<int32_t> merges;  // left, right and what they make, in turn

  void more(int32_t left, int32_t right, int64_t count, uint32_t word) {
    const uint32_t number = pairs.number_of(pair_of(left, right));
    Pairs::Entry& entry = pairs.entries[number];
    entry.count += count;
    if (!entry.words) {
      entry.words = new std::vector<uint32_t>;
      found.push_back(number);
    }
    if (entry.words->empty() || entry.words->back() != word) entry.words->push_back(word);
  }

  void fewer(int32_t left, int32_t right, int64_t count) {
    pairs.entries[pairs.number_of(pair_of(left, right))].count -= count;
  }

  void enqueue() {
    for (uint32_t number : found) {
      Pairs::Entry& entry = pairs.entries[number];
      if (entry.count > 0)
        queue.push({entry.count, entry.pair, number, entry.words});
      else
        delete entry.words;
      entry.words = nullptr;
    }
    found.clear();
  }

  // The pair's own count stays as it was, as in the library: nobody asks for it again.
  void merge(uint32_t word, int32_t left, int32_t right, int32_t made) {
    int32_t* at = &symbols[starts[word]];
    const int64_t count = counts[word];
    int32_t size = sizes[word], from = 0;
    while (from + 1 < size && !(at[from] == left && at[from + 1] == right)) ++from;
    int32_t to = from;
    while (from < size) {
      if (from + 1 == size || at[from] != left || at[from + 1] != right) {
        at[to++] = at[from++];
        continue;
      }
      if (to > 0) {
        fewer(at[to - 1], left, count);
        more(at[to - 1], made, count, word);
      }
      if (from + 2 < size) {
        fewer(right, at[from + 2], count);
        more(made, at[from + 2], count, word);
      }
      at[to++] = made;
      from += 2;
    }
    sizes[word] = to;
  }

  void learn(int64_t vocabulary, int64_t least) {
    while (int64_t(names.size()) < vocabulary && !queue.empty()) {
      Merge top = queue.top();
      queue.pop();
      const int64_t now = pairs.entries[top.entry].count;
      if (top.count != now) {
        top.count = now;
        queue.push(top);
        continue;
      }
      if (top.count < 1 || top.count < least) {
        delete top.words;
        break;
      }
      const int32_t left = int32_t(top.pair >> 32), right = int32_t(top.pair & 0xFFFFFFFF);
      const std::string name = names[left] + names[right];
      const auto [entry, is_new] = numbers.try_emplace(name, int32_t(names.size()));
      if (is_new) names.push_back(name);
      merges.insert(merges.end(), {left, right, entry->second});
      for (uint32_t word : *top.words) merge(word, left, right, entry->second);
      delete top.words;
      enqueue();
    }
  }

  ~Learner() {
    for (; !queue.empty(); queue.pop()) delete queue.top().words;
  }
};

}  // namespace

extern "C" {

Counter* counter_new(const uint8_t* table, int64_t size, int32_t cut) {
  auto* counter = new Counter;
  counter->table.assign(table, table + size);
  counter->scanner = {counter->table.data(), Cut(cut)};
  return counter;
}

void counter_free(Counter* counter) { delete counter; }

void counter_add(Counter* counter, const uint8_t* text, int64_t size) {
  counter->scanner.words(text, text + size, [&](const uint8_t* at, const uint8_t* end) {
    counter->add(at, uint32_t(end - at));
  });
}

int64_t counter_num_words(const Counter* counter) { return int64_t(counter->words.size()); }

int64_t counter_num_bytes(const Counter* counter) { return int64_t(counter->bytes.size()); }

void counter_take(const Counter* counter, uint8_t* bytes, int64_t* starts, int64_t* counts) {
  std::copy(counter->bytes.begin(), counter->bytes.end(), bytes);
  for (size_t number = 0; number < counter->words.size(); ++number) {
    starts[number] = int64_t(counter->words[number].start);
    counts[number] = counter->words[number].count;
  }
  starts[counter->words.size()] = int64_t(counter->bytes.size());
}

Learner* learner_run(const int32_t* symbols, const int64_t* starts, const int64_t* counts, int64_t num_words,
                     const uint8_t* names, const int64_t* name_starts, int64_t num_names, int64_t vocabulary,
                     int64_t least) {
  auto* learner = new Learner;
  learner->symbols.assign(symbols, symbols + starts[num_words]);
  learner->starts = starts;
  learner->counts = counts;
  for (int64_t name = 0; name < num_names; ++name) {
    learner->names.emplace_back(reinterpret_cast<const char*>(names) + name_starts[name],
                                size_t(name_starts[name + 1] - name_starts[name]));
    learner->numbers.try_emplace(learner->names.back(), int32_t(name));
  }
  for (int64_t word = 0; word < num_words; ++word) {
    learner->sizes.push_back(int32_t(starts[word + 1] - starts[word]));
    for (int64_t at = starts[word]; at + 1 < starts[word + 1]; ++at)
      learner->more(symbols[at], symbols[at + 1], counts[word], uint32_t(word));
  }
  learner->enqueue();
  learner->learn(vocabulary, least);
  return learner;
}

int64_t learner_num_merges(const Learner* learner) { return int64_t(learner->merges.size() / 3); }

void learner_take(const Learner* learner, int32_t* merges) {
  std::copy(learner->merges.begin(), learner->merges.end(), merges);
}

void learner_free(Learner* learner) { delete learner; }
}
