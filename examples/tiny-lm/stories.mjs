/**
 * A small grammar of children's stories, with something to learn: names, pronouns, objects and places must agree from the
 * first sentence to the last. As no story comes about in two ways, its probability under the grammar is known exactly,
 * and with it the loss that no model can beat.
 */

const NAMES = {
  she: ['Lily', 'Mia', 'Anna', 'Rose', 'Nora', 'Ella'],
  he: ['Tom', 'Ben', 'Max', 'Leo', 'Sam', 'Finn'],
};
const FORMS = {
  she: { he: 'she', He: 'She', His: 'Her', him: 'her' },
  he: { he: 'he', He: 'He', His: 'His', him: 'him' },
};
const KINDS = ['girl', 'boy', 'rabbit', 'bear', 'mouse', 'fox', 'duck', 'cat', 'dog', 'frog'];
const SEX = { girl: 'she', boy: 'he' };

const OPENINGS = ['Once upon a time', 'Long ago', 'One summer'];
const MOMENTS = ['One day', 'One morning', 'One sunny day', 'Then one day'];
const COLORS = ['red', 'blue', 'green', 'yellow', 'white', 'golden'];
const EVENINGS = ['until the sun went down', 'until it was dark', 'all day long', 'until bedtime'];

/** Each place with where it is and where things hide there. */
const PLACES = [
  { where: 'at the beach', to: 'to the beach', spots: ['behind a rock', 'under the sand'] },
  { where: 'in the park', to: 'to the park', spots: ['under a bench', 'behind a tree'] },
  { where: 'in the forest', to: 'into the forest', spots: ['behind a tree', 'under the leaves'] },
  { where: 'in the garden', to: 'into the garden', spots: ['under the leaves', 'behind the roses'] },
  { where: 'on the farm', to: 'to the farm', spots: ['in the hay', 'behind the barn'] },
  { where: 'at the market', to: 'to the market', spots: ['under a table', 'behind a basket'] },
  { where: 'by the river', to: 'to the river', spots: ['behind a rock', 'in the tall grass'] },
  { where: 'on the hill', to: 'up the hill', spots: ['in the tall grass', 'behind a bush'] },
];

/** Each toy with what one does with it. */
const TOYS = [
  { toy: 'ball', play: 'threw', lost: 'rolled away' },
  { toy: 'kite', play: 'flew', lost: 'blew away' },
  { toy: 'boat', play: 'sailed', lost: 'floated away' },
  { toy: 'drum', play: 'played', lost: 'rolled away' },
  { toy: 'balloon', play: 'held', lost: 'blew away' },
  { toy: 'train', play: 'pushed', lost: 'was gone' },
  { toy: 'book', play: 'read', lost: 'was gone' },
];

/** Each dish with how it is made, how it is taken, and how it tastes. */
const FOODS = [
  { food: 'cake', made: 'baked', eat: 'ate', taste: 'sweet' },
  { food: 'bread', made: 'baked', eat: 'ate', taste: 'warm' },
  { food: 'pie', made: 'baked', eat: 'ate', taste: 'sweet' },
  { food: 'soup', made: 'cooked', eat: 'drank', taste: 'warm' },
  { food: 'tea', made: 'made', eat: 'drank', taste: 'hot' },
  { food: 'juice', made: 'made', eat: 'drank', taste: 'cold' },
];

/** Each art with how it fails at first and how it ends. */
const SKILLS = [
  { skill: 'swim', failed: 'swallowed a lot of water', done: 'swam across the lake' },
  { skill: 'sing', failed: 'forgot all the words', done: 'sang a lovely song' },
  { skill: 'draw', failed: 'broke the pencil', done: 'drew a big picture' },
  { skill: 'climb', failed: 'slid down the tree', done: 'climbed to the very top' },
  { skill: 'dance', failed: 'fell on the floor', done: 'danced like a star' },
  { skill: 'ride a bike', failed: 'fell off the bike', done: 'rode down the street' },
];

/** What one may be and be no more. */
const MOODS = ['shy', 'lonely', 'sad', 'bored', 'scared', 'grumpy'];

/** Each weather with what it makes of one, and what helps. */
const WEATHERS = [
  { began: 'rain', became: 'wet', help: 'umbrella', a: 'an umbrella' },
  { began: 'snow', became: 'cold', help: 'scarf', a: 'a warm scarf' },
  { began: 'thunder', became: 'scared', help: 'cave', a: 'a dry cave' },
];

/** Tells one story, and keeps account of how likely its choices were. */
class Teller {
  logProb = 0;

  /** @param {() => number} random */
  constructor(random) {
    this.random = random;
  }

  /**
   * @template T
   * @param {readonly T[]} from all equally likely
   * @param {T} [except]
   */
  pick(from, except) {
    const left = from.filter(item => item !== except);
    this.logProb -= Math.log(left.length);
    return left[Math.floor(this.random() * left.length)];
  }

  /**
   * A character, who is neither of the other's kind nor of the other's name.
   * @param {{ kind: string, name: string }} [other]
   */
  character(other) {
    const kind = this.pick(KINDS, other?.kind);
    const sex = SEX[kind] ?? this.pick(['she', 'he']);
    return { kind, name: this.pick(NAMES[sex], other?.name), ...FORMS[sex] };
  }
}

function lostToy(tell, hero, friend) {
  const { toy, play, lost } = tell.pick(TOYS);
  const color = tell.pick(COLORS);
  const { where, to, spots } = tell.pick(PLACES);
  return [
    `${hero.He} had a ${color} ${toy} and took it everywhere.`,
    `${tell.pick(MOMENTS)} ${hero.name} went ${to}, but the ${toy} ${lost}.`,
    `${hero.name} was very sad. A ${friend.kind} named ${friend.name} saw ${hero.him} ${where}.`,
    `“What is wrong?” asked ${friend.name}. “I lost my ${color} ${toy},” said ${hero.name}.`,
    `The ${friend.kind} looked ${tell.pick(spots)}, and there it was!`,
    `${hero.name} thanked the ${friend.kind}, and they ${play} the ${color} ${toy} ${tell.pick(EVENINGS)}.`,
  ];
}

function sharedMeal(tell, hero, friend) {
  const { food, made, eat, taste } = tell.pick(FOODS);
  const { where, to } = tell.pick(PLACES);
  return [
    `${hero.He} loved ${food} more than anything.`,
    `${tell.pick(MOMENTS)} ${hero.he} ${made} some ${food} and took it ${to}.`,
    `A ${friend.kind} named ${friend.name} was sitting ${where}. “I am so hungry,” said ${friend.name}.`,
    `“Then have some of my ${food},” said ${hero.name}.`,
    `They ${eat} the ${food} together, and it was ${taste} and good.`,
    `The ${friend.kind} gave ${hero.name} a ${tell.pick(COLORS)} flower. Now ${hero.he} had a new friend.`,
  ];
}

function newSkill(tell, hero, friend) {
  const { skill, failed, done } = tell.pick(SKILLS);
  return [
    `${hero.He} wanted to learn to ${skill}.`,
    `${tell.pick(MOMENTS)} ${hero.name} tried, but ${hero.he} ${failed}.`,
    `“I will never ${skill}!” cried ${hero.name}.`,
    `${hero.His} friend ${friend.name} was a ${tell.pick(['wise', 'kind'])} ${friend.kind}.`,
    `“Try again, ${hero.name},” said the ${friend.kind}. “I will help you.”`,
    `They tried ${tell.pick(['every morning', 'every day', 'again and again'])}, and at last ${hero.name} ${done}.`,
    `${friend.name} clapped, and ${hero.name} was very proud.`,
  ];
}

function newFriend(tell, hero, friend) {
  const mood = tell.pick(MOODS);
  const { where, to } = tell.pick(PLACES);
  const { began, became, help, a } = tell.pick(WEATHERS);
  return [
    `${hero.He} was always ${mood}.`,
    `${tell.pick(MOMENTS)} ${hero.he} went ${to} alone. It began to ${began}, and ${hero.name} became ${became}.`,
    `${where[0].toUpperCase()}${where.slice(1)} ${hero.he} met a ${friend.kind} named ${friend.name}, who had ${a}.`,
    `“Come here, little ${hero.kind},” said ${friend.name}. “My ${help} is big enough for two.”`,
    `So they shared the ${help} ${tell.pick(EVENINGS)}.`,
    `From that day on ${hero.name} and ${friend.name} were friends, and the ${hero.kind} was not ${mood} any more.`,
  ];
}

const PLOTS = [lostToy, sharedMeal, newSkill, newFriend];

/**
 * @param {() => number} random
 * @returns {{ text: string, logProb: number }} a story, and the log of its probability under the grammar
 */
export function tellStory(random) {
  const tell = new Teller(random);
  const opening = tell.pick(OPENINGS);
  const hero = tell.character();
  const friend = tell.character(hero);
  const plot = tell.pick(PLOTS)(tell, hero, friend);
  const text = [`${opening} there was a little ${hero.kind} named ${hero.name}.`, ...plot, 'The end.'].join(
    ' ',
  );
  return { text, logProb: tell.logProb };
}

/**
 * @param {number} count
 * @param {() => number} random
 */
export function tellStories(count, random) {
  return Array.from({ length: count }, () => tellStory(random));
}
