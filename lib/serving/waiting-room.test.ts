import { WaitingRoom } from "./waiting-room.ts";

type Guest = { name: number; rows: number; roomNumber: number };

const guest = (name: number, rows = 1): Guest => ({ name, rows, roomNumber: -1 });

test("whoever came first is let out first, and who has left is not", () => {
  const room = new WaitingRoom<Guest>();
  const guests = Array.from({ length: 10 }, (_, i) => guest(i, i));
  for (const one of guests) room.enter(one);
  for (const i of [0, 3, 4, 9]) expect(room.leave(guests[i]!)).toBe(true);
  expect(room.leave(guests[3]!)).toBe(false);
  expect([room.size, room.rows]).toEqual([6, 1 + 2 + 5 + 6 + 7 + 8]);
  expect(room.next()?.name).toBe(1);
  expect(room.takeAll().map(({ name }) => name)).toEqual([2, 5, 6, 7, 8]);
  expect([room.size, room.rows, room.next()]).toEqual([0, 0, undefined]);
});

test("is full with ten times what the queue takes", () => {
  const room = new WaitingRoom<Guest>();
  for (let i = 0; i < 29; i++) room.enter(guest(i));
  expect(room.isFull(3)).toBe(false);
  room.enter(guest(29));
  expect(room.isFull(3)).toBe(true);
});

test("those who come and go behind one who stays take no room for good", () => {
  const room = new WaitingRoom<Guest>();
  const [first, second] = [guest(-2), guest(-1)];
  room.enter(first);
  let most = 0;
  for (let i = 0; i < 100_000; i++) {
    const passing = guest(i);
    room.enter(passing);
    if (i === 50_000) room.enter(second);
    room.leave(passing);
    most = Math.max(most, room.places);
  }
  expect(most).toBeLessThan(200);
  expect(room.takeAll()).toEqual([first, second]);
});

test("keeps its order through any coming and going", () => {
  const room = new WaitingRoom<Guest>();
  let expected: Guest[] = [];
  let seed = 11;
  const draw = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let step = 0; step < 20_000; step++) {
    const choice = draw(10);
    if (choice < 4 || expected.length === 0) {
      const one = guest(step, draw(5));
      room.enter(one);
      expected.push(one);
    } else if (choice < 9) {
      const one = expected[draw(expected.length)]!;
      expect(room.leave(one)).toBe(true);
      expected = expected.filter((other) => other !== one);
    } else expect(room.next()).toBe(expected.shift());
    expect(room.size).toBe(expected.length);
  }
  expect(room.takeAll()).toEqual(expected);
});
