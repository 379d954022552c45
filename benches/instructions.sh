#!/bin/sh
# Instructions of one transfer on coherent machines, by device, path and direction: what the transfer
# path costs with the cache model in the program and nothing for it to do. edu moves 4095 bytes at a
# time, the exerciser has 32 requests of 4096 bytes under way. Needs valgrind.
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
    for device in edu exerciser; do
        for path in packet sg v3 common; do
            for direction in to from; do
                low=$(count "$profile" "$device" "$path" "$direction" "$few")
                high=$(count "$profile" "$device" "$path" "$direction" "$many")
                each=$(((high - low) / (many - few)))
                echo "$profile $device $path $direction: $each instructions"
            done
        done
    done
done
