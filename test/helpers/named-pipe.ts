import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'

const { O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/**
 * A real pipe, as a shell makes one between two programs (what Node makes for its children are sockets). Nobody reads it
 * until told. `end` is for the child's output: close it here once the child has it.
 */
export function makePipe(path: string) {
  execFileSync('mkfifo', [path])
  let reader = openSync(path, O_RDONLY | O_NONBLOCK)
  const end = openSync(path, O_WRONLY)

  return {
    end,
    /** Writes until it takes no more: who writes next would wait. */
    fill(): void {
      const filler = openSync(path, O_WRONLY | O_NONBLOCK)
      const isTaken = (size: number): boolean => {
        try {
          return writeSync(filler, Buffer.alloc(size, '.')) > 0
        } catch {
          return false
        }
      }
      for (const size of [4_096, 1]) while (isTaken(size));
      closeSync(filler)
    },
    /** The reader wakes up: what it has read so far, and the whole once nobody writes any more. */
    read() {
      let text = ''
      const socket = new Socket({ fd: reader, readable: true, writable: false })
      socket.setEncoding('utf8').on('data', (part) => {
        text += part
      })
      return { text: () => text, all: new Promise<string>((resolve) => socket.once('end', () => resolve(text))) }
    },
    /** The reader goes. */
    hangUp: (): void => closeSync(reader),
    /** Another takes its place. */
    comeBack: (): void => {
      reader = openSync(path, O_RDONLY | O_NONBLOCK)
    },
  }
}
