#!/bin/sh
# Instructions of one 4095-byte transfer on coherent machines, by path and direction: what the
# transfer path costs with the cache model in the program and nothing for it to do. Needs valgrind.
# Compare with another revision by running it there.
set -eu
cd "$(dirname "$0")/.."
binary=$(cargo bench -q -p dmaproof-benches --bench instructions --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*instructions[^"]*\)".*/\1/p')
few=200
many=1200
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
for profile in x64 x64-dmar; do
    for path in packet sg v3 common; do
        for direction in to from; do
            low=$(count "$profile" "$path" "$direction" "$few")
            high=$(count "$profile" "$path" "$direction" "$many")
            echo "$profile $path $direction: $(((high - low) / (many - few))) instructions"
        done
    done
done
