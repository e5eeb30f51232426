import { count, eq, relations, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { Kysely, sql as kyselySql } from "kysely";
import { D1Dialect } from "kysely-d1";

const users = sqliteTable("users", {
  id: integer("id").primaryKey({ autoIncrement: true }),
  email: text("email").notNull().unique(),
  settings: text("settings", { mode: "json" }).notNull(),
  createdAt: integer("created_at", { mode: "timestamp" })
    .notNull()
    .default(sql`(unixepoch())`),
});
const posts = sqliteTable("posts", {
  id: integer("id").primaryKey({ autoIncrement: true }),
  authorId: integer("author_id")
    .notNull()
    .references(() => users.id, { onDelete: "cascade" }),
  title: text("title").notNull(),
  published: integer("published", { mode: "boolean" }).notNull().default(false),
});
const usersRelations = relations(users, ({ many }) => ({ posts: many(posts) }));
const postsRelations = relations(posts, ({ one }) => ({
  author: one(users, { fields: [posts.authorId], references: [users.id] }),
}));

/** What drizzle-orm's documentation shows of D1: queries, relations, upserts, batches, and what fails. */
async function withDrizzle(binding) {
  const db = drizzle(binding, { schema: { users, posts, usersRelations, postsRelations } });
  await db.delete(users);
  const [anna] = await db
    .insert(users)
    .values({ email: "anna@example.com", settings: { theme: "light" } })
    .returning();
  const [, inserted, counted] = await db.batch([
    db.insert(posts).values({ authorId: anna.id, title: "one", published: true }),
    db.insert(posts).values({ authorId: anna.id, title: "two" }).returning({ title: posts.title }),
    db.select({ n: count() }).from(posts),
  ]);
  const failing = await db
    .batch([
      db.insert(posts).values({ authorId: anna.id, title: "undone" }),
      db.insert(users).values({ email: "anna@example.com", settings: {} }),
    ])
    .then(
      () => "no error",
      (error) => String(error.cause?.message ?? error.message),
    );
  await db
    .insert(users)
    .values({ email: "anna@example.com", settings: { theme: "new" } })
    .onConflictDoUpdate({ target: users.email, set: { settings: { theme: "upserted" } } });
  const related = await db.query.users.findFirst({ with: { posts: { columns: { title: true, published: true } } } });
  const foreignKey = await db
    .insert(posts)
    .values({ authorId: -1, title: "nobody's" })
    .then(
      () => "no error",
      (error) => String(error.cause?.message ?? error.message),
    );
  const prepared = db
    .select({ title: posts.title })
    .from(posts)
    .where(eq(posts.title, sql.placeholder("title")))
    .prepare();
  const found = await prepared.all({ title: "two" });
  await db.delete(users).where(eq(users.id, anna.id));
  return {
    theme: anna.settings.theme,
    isDate: anna.createdAt instanceof Date,
    inserted,
    counted,
    failing,
    related: { settings: related.settings, posts: related.posts },
    foreignKey,
    found,
    left: await db.$count(posts),
  };
}

/** The same with Kysely and its dialect for D1. */
async function withKysely(binding) {
  const db = new Kysely({ dialect: new D1Dialect({ database: binding }) });
  await db.deleteFrom("users").execute();
  const ben = await db
    .insertInto("users")
    .values({ email: "ben@example.com" })
    .returning(["id", "settings"])
    .executeTakeFirstOrThrow();
  const { numInsertedOrUpdatedRows, insertId } = await db
    .insertInto("posts")
    .values([1, 2, 3].map((n) => ({ author_id: ben.id, title: `post ${n}` })))
    .executeTakeFirstOrThrow();
  const updated = await db
    .updateTable("posts")
    .set({ published: 1 })
    .where("title", "!=", "post 2")
    .executeTakeFirstOrThrow();
  const joined = await db
    .selectFrom("posts")
    .innerJoin("users", "users.id", "posts.author_id")
    .select(["title", "email", kyselySql`upper(email)`.as("loud")])
    .where("published", "=", 1)
    .orderBy("title")
    .execute();
  const transaction = await db
    .transaction()
    .execute(async () => undefined)
    .then(
      () => "no error",
      (error) => error.message,
    );
  const tables = (await db.introspection.getTables().catch((error) => [{ name: error.message }])).map(
    ({ name }) => name,
  );
  return {
    settings: ben.settings,
    inserted: Number(numInsertedOrUpdatedRows),
    hasInsertId: typeof insertId === "bigint",
    updated: Number(updated.numUpdatedRows),
    joined,
    transaction,
    tables,
  };
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/drizzle") return Response.json(await withDrizzle(env.DB));
    if (pathname === "/kysely") return Response.json(await withKysely(env.DB));
    return new Response("Not found", { status: 404 });
  },
};
