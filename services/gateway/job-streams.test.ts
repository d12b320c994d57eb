import { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import { JobNotFoundError } from "../../lib/errors.ts";
import type { Job, TrainingProgress } from "../../lib/protocol/jobs.ts";
import { until } from "../../test/fixtures/eventually.ts";
import { JobStreams } from "./job-streams.ts";

/** As much of a response as a stream uses. */
class FakeResponse extends EventEmitter {
  text = "";
  destroyed = false;
  writableLength = 0;
  writeHead(): this {
    return this;
  }
  flushHeaders(): void {}
  write(chunk: string): boolean {
    this.text += chunk;
    return true;
  }
  end(): void {
    this.emit("close");
  }
  get events(): (string | undefined)[] {
    return [...this.text.matchAll(/^event: (.*)$/gm)].map(([, event]) => event);
  }
}

const jobIn = (state: Job["state"]) => ({ id: "j", state }) as Job;
const progress = { step: 1 } as TrainingProgress;
const open = (streams: JobStreams, response: FakeResponse, id = "j") =>
  streams.open(id, response as unknown as ServerResponse);

describe("JobStreams", () => {
  test("holds events that come before the record, and sends them after it", async () => {
    const record = Promise.withResolvers<Job>();
    const streams = new JobStreams(() => record.promise);
    const response = new FakeResponse();
    const opened = open(streams, response);
    streams.publish("training.progressed", { id: "j", progress });
    streams.publish("training.ended", { id: "j", job: jobIn("succeeded") });
    record.resolve(jobIn("running"));
    await opened;
    expect(response.events).toEqual(["job", "progressed", "ended"]);
    expect(streams.size).toBe(0);
  });

  test("ends a stream whose last event was lost, at the next heartbeat", async () => {
    let job = jobIn("running");
    const streams = new JobStreams(async () => job, { heartbeatMs: 20 });
    const response = new FakeResponse();
    await open(streams, response);
    job = jobIn("failed");
    await until(() => streams.size === 0);
    expect(response.text).toContain(": heartbeat");
    expect(response.events).toEqual(["job", "ended"]);
  });

  test("refuses a job that does not exist, and subscribers beyond the limit", async () => {
    const streams = new JobStreams(
      async (id) => {
        if (id === "j") return jobIn("running");
        throw new JobNotFoundError(id);
      },
      { maxStreams: 1 },
    );
    await expect(open(streams, new FakeResponse(), "x")).rejects.toMatchObject({ type: "JOB_NOT_FOUND" });
    expect(streams.size).toBe(0);
    await open(streams, new FakeResponse());
    await expect(open(streams, new FakeResponse())).rejects.toMatchObject({ type: "QUEUE_FULL" });
    streams.close();
    expect(streams.size).toBe(0);
  });

  test("forgets a client that has gone before the record was read", async () => {
    const streams = new JobStreams(async () => jobIn("running"));
    const response = new FakeResponse();
    response.destroyed = true;
    await open(streams, response);
    expect([streams.size, response.text]).toEqual([0, ""]);
  });
});
