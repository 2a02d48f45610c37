// The no-op job on Asynq:  bench fill | work
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sys/unix"
)

var (
	redis = asynq.RedisClientOpt{Addr: "127.0.0.1:" + os.Getenv("BENCH_REDIS_PORT")}
	best  = os.Getenv("BENCH_VARIANT") == "best"
	lock  sync.Mutex
	marks []byte
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// The job, and what measure.py reads of it.
func noop(_ context.Context, task *asynq.Task) error {
	number, err := strconv.ParseUint(string(task.Payload()[:8]), 10, 64)
	if err != nil {
		return err
	}
	var now unix.Timespec
	check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	lock.Lock()
	marks = binary.LittleEndian.AppendUint64(marks, number)
	marks = binary.LittleEndian.AppendUint64(marks, uint64(now.Nano()))
	lock.Unlock()
	return nil
}

func writeMarks() {
	file, err := os.Create(fmt.Sprintf("%s/%d", os.Getenv("BENCH_MARKS"), os.Getpid()))
	check(err)
	for range time.Tick(100 * time.Millisecond) {
		lock.Lock()
		written := marks
		marks = nil
		lock.Unlock()
		_, err := file.Write(written)
		check(err)
	}
}

func work() {
	config := asynq.Config{}
	if best {
		config = asynq.Config{Concurrency: 10, LogLevel: asynq.ErrorLevel}
	}
	go writeMarks()
	mux := asynq.NewServeMux()
	mux.HandleFunc("noop", noop)
	check(asynq.NewServer(redis, config).Run(mux))
}

func fill() {
	jobs, err := strconv.Atoi(os.Getenv("BENCH_JOBS"))
	check(err)
	client := asynq.NewClient(redis)
	for number := 0; number < jobs; number++ {
		_, err := client.Enqueue(asynq.NewTask("noop", []byte(fmt.Sprintf("%08d%0192d", number, 0))))
		check(err)
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "fill" {
		fill()
		return
	}
	work()
}
