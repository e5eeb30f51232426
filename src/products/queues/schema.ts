import { z } from "zod";

/** A queue as the control database knows it; its messages are another matter. Times are ISO texts. */
export type Queue = {
  id: string;
  accountId: string;
  name: string;
  settings: QueueSettings;
  createdOn: string;
  modifiedOn: string;
};

/** https://developers.cloudflare.com/queues/platform/limits/: names have at most 63 characters. */
export const queueName = /^[a-z0-9]([a-z0-9-_]{0,61}[a-z0-9])?$/i;

/** Seconds; defaults and bounds as https://developers.cloudflare.com/queues/platform/limits/ gives them. */
export const queueSettings = z.looseObject({
  delivery_delay: z.number().int().min(0).max(86_400).default(0),
  delivery_paused: z.boolean().default(false),
  message_retention_period: z.number().int().min(60).max(1_209_600).default(345_600),
});

export type QueueSettings = z.infer<typeof queueSettings>;

/** The body that makes a queue. */
export const newQueue = z.looseObject({ queue_name: z.string(), settings: queueSettings.prefault({}) });
