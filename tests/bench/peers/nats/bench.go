// The no-op job on NATS JetStream:  bench server PORT | fill PORT | work PORT FETCH
//
// A stream in memory with the policy of a work queue, acknowledged job by job; FETCH jobs are asked
// for at a time. The server is the module's own, in a process of its own.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	check(err)
	return value
}

func serve(port int) {
	folder, err := os.MkdirTemp("", "nats")
	check(err)
	defer os.RemoveAll(folder)
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true,
		StoreDir: folder, NoLog: true})
	check(err)
	go nats.Start()
	nats.WaitForShutdown()
}

func stream(port string, most int) (jetstream.JetStream, jetstream.Stream) {
	var connection *nats.Conn
	err := errors.New("none yet")
	for tries := 0; tries < 100 && err != nil; tries++ { // the server may be starting
		connection, err = nats.Connect("nats://127.0.0.1:" + port)
		time.Sleep(20 * time.Millisecond)
	}
	check(err)
	js, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(most))
	check(err)
	jobs, err := js.CreateOrUpdateStream(context.Background(), jetstream.StreamConfig{Name: "jobs",
		Subjects: []string{"jobs"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.MemoryStorage})
	check(err)
	return js, jobs
}

func fill(port string) {
	js, _ := stream(port, 4000)
	for job, jobs := 0, number(os.Getenv("BENCH_JOBS")); job < jobs; job++ {
		_, err := js.PublishAsync("jobs", []byte(fmt.Sprintf("%08d%0192d", job, 0)))
		check(err)
	}
	<-js.PublishAsyncComplete()
}

func work(port string, fetch int) {
	_, jobs := stream(port, 1)
	consumer, err := jobs.CreateOrUpdateConsumer(context.Background(), jetstream.ConsumerConfig{
		Durable: "fleet", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 8 * fetch})
	check(err)
	file, err := os.Create(fmt.Sprintf("%s/%d", os.Getenv("BENCH_MARKS"), os.Getpid()))
	check(err)
	for {
		batch, err := consumer.Fetch(fetch, jetstream.FetchMaxWait(time.Second))
		check(err)
		marks := make([]byte, 0, 16*fetch)
		for message := range batch.Messages() {
			job, err := strconv.ParseUint(string(message.Data()[:8]), 10, 64)
			check(err)
			var now unix.Timespec
			check(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
			marks = binary.LittleEndian.AppendUint64(marks, job)
			marks = binary.LittleEndian.AppendUint64(marks, uint64(now.Nano()))
			check(message.Ack())
		}
		_, err = file.Write(marks)
		check(err)
	}
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: bench server PORT | fill PORT | work PORT FETCH")
	}
	switch os.Args[1] {
	case "server":
		serve(number(os.Args[2]))
	case "fill":
		fill(os.Args[2])
	default:
		work(os.Args[2], number(os.Args[3]))
	}
}
