"""Which rows a step of an example sees (examples/data/batches.cpp): C++'s seed_seq, mt19937_64 and Fisher and Yates."""
WORD, LONG = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


def seed_sequence(values, n):
    """std::seed_seq(values).generate of n words, as [rand.util.seedseq] says; n from 623 on."""
    def mixed(x):
        return x ^ (x >> 27)

    b, s = [0x8B8B8B8B] * n, len(values)
    p = (n - 11) // 2
    q = p + 11
    for k in range(max(s + 1, n)):
        at, to, far = k % n, (k + p) % n, (k + q) % n
        r1 = 1664525 * mixed(b[at] ^ b[to] ^ b[at - 1]) & WORD
        r2 = r1 + (s if k == 0 else at + (values[k - 1] if k <= s else 0)) & WORD
        b[to], b[far] = b[to] + r1 & WORD, b[far] + r2 & WORD
        b[at] = r2
    for k in range(max(s + 1, n), max(s + 1, n) + n):
        at, to, far = k % n, (k + p) % n, (k + q) % n
        r3 = 1566083941 * mixed(b[at] + b[to] + b[at - 1] & WORD) & WORD
        r4 = r3 - at & WORD
        b[to], b[far] = b[to] ^ r3, b[far] ^ r4
        b[at] = r4
    return b


def mersenne_twister_64(values):
    """std::mt19937_64 seeded with std::seed_seq(values)."""
    words = seed_sequence(values, 624)
    x = [low | high << 32 for low, high in zip(words[::2], words[1::2])]
    while True:
        for i in range(312):
            y = x[i] & 0xFFFFFFFF80000000 | x[(i + 1) % 312] & 0x7FFFFFFF
            x[i] = x[(i + 156) % 312] ^ y >> 1 ^ (0xB5026F5AA96619E9 if y & 1 else 0)
        for y in x:
            y ^= y >> 29 & 0x5555555555555555
            y ^= y << 17 & 0x71D67FFFEDA60000
            y ^= y << 37 & 0xFFF7EEE000000000 & LONG
            yield y ^ y >> 43


def order(count, seed, number):
    """Of the rows in pass `number`, from 0."""
    rows, random = list(range(count)), mersenne_twister_64([seed & WORD, seed >> 32, number])
    for k in range(count, 1, -1):
        other = next(random) % k
        rows[k - 1], rows[other] = rows[other], rows[k - 1]
    return rows
